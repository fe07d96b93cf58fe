"""Training of the model that comes with lenspipe, on simulated stamps alone."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

import lenspipe
from lenspipe.config.training import ShippedTraining
from lenspipe.models.contents import count_parameters
from lenspipe.models.registry import build
from lenspipe.products.cards import CARD, Card, write_card
from lenspipe.products.files import write_json
from lenspipe.scoring.score import score_images
from lenspipe.statistics.metrics import (
    auc,
    completeness_at_fpr,
    completeness_interval,
    cross_entropy,
    name_interval,
)
from lenspipe.training.augmentation import N_DRAWS
from lenspipe.training.backup import Backup
from lenspipe.training.devices import Devices, choose_devices
from lenspipe.training.ensemble import join
from lenspipe.training.fitting import Fit, initial_model
from lenspipe.training.results import code_version, write_history, write_model
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.hashing import digest, file_hash
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras, tf

__all__ = ["MAX_BYTES", "Draw", "Kind", "train_shipped"]

#: Kind of a stamp.
Kind = Literal["lens", "nonlens"]

#: Draws simulated stamps: kind (``lens`` or ``nonlens``), their number, a seed and the number of
#: processes -> images, float32 (N, 3, 101, 101) nanomaggies, and a table with a row for each.
Draw = Callable[[Kind, int, int, int | None], tuple[np.ndarray, pd.DataFrame]]

#: Maximum size of the model's file, bytes: it is part of the package.
MAX_BYTES = 5_000_000

_BANDS, _SIZE = ("g", "r", "z"), 101

#: Stamps of a file; those of a killed run are drawn again, all others are kept.
_PER_SHARD = 500

#: Maximum shift of an augmented stamp, pixels: stamps are kept that much larger than the crop.
_MARGIN = 4

_KINDS: tuple[Kind, Kind] = ("nonlens", "lens")

#: Settings of layers and initialisers that Keras 3.13 does not know, with their defaults.
_NEW_SETTINGS = {
    "input_axes": None,
    "output_axes": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}

#: Splits -> offset of their first shard.
_SPLITS = {"train": 0, "held-out": 1_000_000}

_TRAINED_ON = "Simulated lenses and galaxies only; it has seen no pixel of a real survey."

_PURPOSE = (
    "It ranks galaxies on the first day of a search, before there are known lenses to train on: a "
    "footprint, a list of positions, or somebody's cutouts. Grade the best of them, and train a "
    "network of your own on the grades."
)

_NOT_FOR = (
    "Probabilities: its scores order galaxies. None is the probability that a galaxy is a lens.",
    "Completeness, purity, or the number of lenses in an area: measure these with a model that "
    "was trained and tested on the survey that is searched.",
    "Other cutouts than those that it was trained on: other bands, pixels of another size than "
    "0.262 arcsec, fluxes that are not in nanomaggies, images that have been stretched.",
    "A verdict on a single galaxy without visual inspection.",
)


class _Stamps(NamedTuple):
    """Central regions of stamps, float32 (N, 3, S, S), and their labels, 1 for lenses, (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def centres(self, side: int) -> np.ndarray:
        """Central regions of a side in pixels, (N, 3, side, side)."""
        first = (self.images.shape[-1] - side) // 2
        return self.images[:, :, first : first + side, first : first + side]


def train_shipped(
    folder: Path,
    training: ShippedTraining,
    draw: Draw,
    workers: int | None = None,
    real: dict[str, Any] | None = None,
) -> Card:
    """Train the model on simulated stamps, judge it on others, and write it with its card.

    Leaves in the folder: ``stamps/`` and ``members/`` (stamps and state of the training, from which
    a killed run resumes; they may be deleted afterwards), ``model.keras``, ``card.md`` and, last,
    ``card.json``. A model of the same stamps and settings is kept; its card is written again.

    Parameters
    ----------
    draw
        Simulates the stamps.
    workers
        Processes that simulate; all cores if not given.
    real
        Figures on real stamps for the card.

    Raises
    ------
    LenspipeError
        The model is larger than `MAX_BYTES`, or the loss is not finite.
    """
    source = _source_hash()
    stamps = folder / "stamps" / f"{source}-{training.seed}-{training.crop}"
    sets = {split: _read_stamps(stamps, split, training, draw, workers) for split in _SPLITS}
    held_out = sets["held-out"]
    settings = training.model_dump(mode="json", exclude={"version", "members"})
    devices = choose_devices("one")
    networks = []
    for member in range(training.members):
        key = digest("shipped", source, settings, member)
        networks.append(_train_member(folder, training, member, key, sets, devices))
    small = _joined(networks)
    model = _joined([_uncropped(network, training) for network in networks])
    path, state = folder / "model.keras", folder / "model.json"
    key = digest("shipped", source, settings, training.members)
    kept = read_kept(state)
    if not (path.is_file() and kept == {"key": key, "sha256": file_hash(path)}):
        (folder / CARD).unlink(missing_ok=True)
        write_model(path, model)
        write_for_older_keras(path)
        write_json(state, {"key": key, "sha256": file_hash(path)})
    if (size := path.stat().st_size) > MAX_BYTES:
        raise LenspipeError(
            f"{path}: found {size / 1e6:.1f} MB, expected at most {MAX_BYTES / 1e6:.0f}; lower "
            "--members, --width or --units"
        )
    card = Card(
        name="shipped",
        version=training.version,
        trained_on=_TRAINED_ON,
        purpose=_PURPOSE,
        not_for=_NOT_FOR,
        command=_command(training),
        code=code_version(),
        bands=_BANDS,
        size_pixels=_SIZE,
        parameters=count_parameters(model),
        training=training,
        counts={
            **dict(zip(("non_lenses", "lenses"), _count(sets["train"]), strict=True)),
            **dict(zip(("held_out_non_lenses", "held_out_lenses"), _count(held_out), strict=True)),
        },
        simulated={
            str(symmetries): _figures(
                held_out.labels,
                score_images(small, held_out.centres(training.crop), symmetries=symmetries),
            )
            for symmetries in (1, 8)
        },
        real=real,
        sha256=file_hash(path),
    )
    write_card(card, folder)
    for symmetries, figures in card.simulated.items():
        log.info(
            "%s: %d orientations: AUC %.4f, completeness %.3f at 10 %% false positives",
            path, int(symmetries), figures["auc"], figures["completeness10"],
        )  # fmt: skip
    return card


def write_for_older_keras(path: Path) -> None:
    """Rewrite a model's file so that all versions of Keras that lenspipe allows can read it.

    Newer ones write settings (`_NEW_SETTINGS`) that older ones refuse, even at their defaults.
    """

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: clean(entry)
                for key, entry in value.items()
                if key not in _NEW_SETTINGS or entry != _NEW_SETTINGS[key]
            }
        return [clean(entry) for entry in value] if isinstance(value, list) else value

    with zipfile.ZipFile(path) as archive:
        contents = [(info, archive.read(info)) for info in archive.infolist()]
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for info, content in contents:
            if info.filename == "config.json":
                content = json.dumps(clean(json.loads(content))).encode()
            archive.writestr(info, content)


def _source_hash() -> str:
    """Hash of the simulation's source and data files, so that other code draws other stamps."""
    content = hashlib.sha256()
    folder = Path(lenspipe.__file__).parent / "simulation"
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".csv", ".yaml", ".npz", ".json"):
            content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()[:8]


def _read_stamps(
    folder: Path, split: str, training: ShippedTraining, draw: Draw, workers: int | None
) -> _Stamps:
    """Read the stamps of a split, after drawing those that are not there yet."""
    fraction = 1 if split == "train" else training.held_out
    numbers: dict[Kind, int] = {"lens": training.lenses, "nonlens": training.non_lenses}
    # A rate of 10 % needs ten non-lenses at least.
    numbers = {kind: max(10, round(fraction * number)) for kind, number in numbers.items()}
    side = training.crop + 2 * _MARGIN
    images = np.empty((sum(numbers.values()), len(_BANDS), side, side), np.float32)
    labels = np.repeat([1, 0], [numbers["lens"], numbers["nonlens"]]).astype(np.float32)
    start = 0
    for kind, number in numbers.items():
        for shard, first in enumerate(range(0, number, _PER_SHARD)):
            count = min(_PER_SHARD, number - first)
            path = folder / f"{kind}-{split}-{shard:04d}-{count}.npy"
            if not path.is_file():
                place = [training.seed, _KINDS.index(kind), _SPLITS[split] + shard]
                seed = int(np.random.SeedSequence(place).generate_state(1)[0] % 2**31)
                log.info("drawing %s stamps (%s): %d to %d of %d", kind, split, first + 1,
                         first + count, number)  # fmt: skip
                _draw_shard(path, kind, count, seed, side, draw, workers)
            images[start : start + count] = np.load(path)
            start += count
    return _Stamps(images, labels)


def _draw_shard(
    path: Path, kind: Kind, count: int, seed: int, side: int, draw: Draw, workers: int | None
) -> None:
    images, table = draw(kind, count, seed, workers)
    expected = (count, len(_BANDS), _SIZE, _SIZE)
    assert images.shape == expected, f"{kind} stamps: {images.shape}, expected {expected}"
    first = (_SIZE - side) // 2
    with atomic(path.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(path) as temporary:
        np.save(temporary, images[:, :, first : first + side, first : first + side])


def _train_member(
    folder: Path,
    training: ShippedTraining,
    member: int,
    key: str,
    sets: dict[str, _Stamps],
    devices: Devices,
) -> keras.Model:
    """Train one of the networks, or take up its training where it was; return it."""
    section = training.training(member)
    data = _StampBatches(sets["train"], training, member, devices)
    place = folder / "members" / section.name
    fit = Fit(
        initial_model(section, _BANDS, data),
        section,
        _BANDS,
        data,
        _HeldOut(sets["held-out"], training.crop),
        Backup(place / "backup", key),
    )
    log.info("network %d of %d", member + 1, training.members)
    fit.run(section.epochs)
    write_history(place, pd.DataFrame(fit.history), section.epochs)
    return fit.kept_model()


class _StampBatches:
    """Batches of stamps in memory, a `lenspipe.training.data.Batches`."""

    def __init__(
        self, stamps: _Stamps, training: ShippedTraining, member: int, devices: Devices
    ) -> None:
        self.stamps, self.training, self.devices = stamps, training, devices
        self.shape = (len(_BANDS), training.crop)
        self.seed = training.training(member).seed or 0
        self.batch_size = min(training.batch_size, len(stamps.labels))
        self.steps = len(stamps.labels) // self.batch_size
        n_nonlenses, n_lenses = _count(stamps)
        self.lens_weight = np.float32(max(1.0, n_nonlenses / n_lenses))

    def some_images(self) -> np.ndarray:
        """Stamps at equal steps, 1,000 or fewer."""
        step = -(-len(self.stamps.labels) // 1000)
        return self.stamps.centres(self.training.crop)[::step]

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Batches of an epoch (from 0), prepared while the network trains on earlier ones."""
        size, (bands, side) = self.batch_size, self.shape
        signature = tuple(
            tf.TensorSpec(shape, tf.float32)
            for shape in ((size, bands, side, side), (size, N_DRAWS), (size, 1), (size, 1))
        )
        batches = tf.data.Dataset.from_generator(
            lambda: self._batches(epoch), output_signature=signature
        )
        return batches.prefetch(4)

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.stamps.labels))
        return order[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, ...]]:
        rng = np.random.default_rng([self.seed, epoch, 1])
        for rows in self._order(epoch):
            images = _augment(self._cut(rows, rng), self.training, rng)
            labels = self.stamps.labels[rows, None]
            weights = np.where(labels == 1, self.lens_weight, np.float32(1))
            yield images, rng.random((len(rows), N_DRAWS), np.float32), labels, weights

    def _cut(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cut a batch of stamps to the crop, shifted at random."""
        side, shift = self.training.crop, self.training.shift
        # One shift for a batch costs no copy for each stamp.
        y, x = _MARGIN + rng.integers(-shift, shift, 2, endpoint=True)
        return self.stamps.images[rows, :, y : y + side, x : x + side]

    def ids(self, epoch: int, step: int) -> list[str]:
        """Row and class of each stamp of a batch."""
        return [
            f"{'lens' if self.stamps.labels[row] else 'nonlens'}-{row}"
            for row in self._order(epoch)[step]
        ]


def _augment(images: np.ndarray, training: ShippedTraining, rng: np.random.Generator) -> np.ndarray:
    """Smooth half of the stamps, and change fluxes; symmetries and noise come with the step."""
    if training.blur:
        weight = rng.uniform(0, training.blur, len(images)) * (rng.random(len(images)) < 0.5)
        for axis in (2, 3):
            images = _smooth(images, weight.astype(np.float32), axis)
    if training.colour:
        sigma = rng.standard_normal((len(images), images.shape[1], 1, 1), np.float32)
        images = images * np.exp(np.float32(training.colour) * sigma)
    return images


def _smooth(images: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    """Weigh both neighbours of each pixel along an axis, with edges repeated."""
    weight = weight[:, None, None, None]
    widths = [(0, 0)] * images.ndim
    widths[axis] = (1, 1)
    padded = np.pad(images, widths, mode="edge")
    before, after = (
        np.take(padded, np.arange(first, first + images.shape[axis]), axis) for first in (0, 2)
    )
    return (1 - 2 * weight) * images + weight * (before + after)


class _HeldOut:
    """Stamps that are not trained on, a `lenspipe.training.data.Validation`."""

    def __init__(self, stamps: _Stamps, side: int) -> None:
        self.images, self.labels = stamps.centres(side), stamps.labels

    def measure(
        self, model: keras.Model, progress: Callable[[str], object]
    ) -> tuple[float | None, float | None, np.ndarray, np.ndarray]:
        """Measure a model."""
        progress("validation")
        p = score_images(model, self.images).astype(np.float64)
        lenses, nonlenses = p[self.labels == 1], p[self.labels == 0]
        return cross_entropy(self.labels, p), auc(lenses, nonlenses), lenses, nonlenses


def _uncropped(network: keras.Model, training: ShippedTraining) -> keras.Model:
    """Return the same network for whole cutouts, of which it crops the central region."""
    section = training.training(0)
    settings: dict[str, Any] = {**section.network_settings, "crop": training.crop}
    model = build(section.network, _BANDS, _SIZE, **settings)
    model.set_weights(network.get_weights())
    return model


def _joined(networks: list[keras.Model]) -> keras.Model:
    """Average the probabilities of several networks; a single one is returned as it is."""
    if len(networks) == 1:
        return networks[0]
    return join({f"member_{i}": network for i, network in enumerate(networks, 1)}, "mean")


def _count(stamps: _Stamps) -> tuple[int, int]:
    """Numbers of non-lenses and of lenses."""
    n_lenses = int(stamps.labels.sum())
    return len(stamps.labels) - n_lenses, n_lenses


def _figures(labels: np.ndarray, p: np.ndarray) -> dict[str, float | None]:
    """Figures of the card, from labels and scores."""
    lenses, nonlenses = p[labels == 1], p[labels == 0]
    figures: dict[str, float | None] = {"auc": auc(lenses, nonlenses)}
    for name, rate in (("completeness10", 0.1), ("completeness1", 0.01)):
        completeness, _ = completeness_at_fpr(lenses, nonlenses, rate)
        interval = completeness_interval(lenses, nonlenses, rate)
        figures |= name_interval(name, (completeness, *interval))
    return figures


def _command(training: ShippedTraining) -> str:
    """Command that trains the model again."""
    values = training.model_dump(mode="json")
    options = [f"--{name.replace('_', '-')} {value}" for name, value in values.items()]
    return " ".join(["lenspipe train-shipped --output shipped", *options])
