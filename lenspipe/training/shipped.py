"""Training of the model that comes with lenspipe, on simulated stamps alone."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lenspipe
from lenspipe.config.training import ShippedTraining
from lenspipe.models.contents import count_parameters
from lenspipe.models.registry import build
from lenspipe.products.cards import CARD, Card, write_card
from lenspipe.products.files import write_json
from lenspipe.scoring.score import score_images
from lenspipe.statistics.intervals import name_interval
from lenspipe.statistics.metrics import auc, completeness_at_true_rate
from lenspipe.training.backup import Backup
from lenspipe.training.devices import Devices, choose_devices
from lenspipe.training.ensemble import join
from lenspipe.training.fitting import Fit, initial_model
from lenspipe.training.results import code_version, write_history, write_model
from lenspipe.training.simulated_stamps import (
    BANDS,
    SIZE_PIXELS,
    SPLITS,
    Draw,
    HeldOut,
    StampBatches,
    Stamps,
    read_stamps,
)
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.hashing import digest, file_hash
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras

__all__ = ["MAX_BYTES", "train_shipped", "write_for_older_keras"]

#: Maximum size of the model's file, bytes: it is part of the package.
MAX_BYTES = 5_000_000

#: Settings of layers and initialisers that Keras 3.13 does not know, with their defaults.
_NEW_SETTINGS = {
    "input_axes": None,
    "output_axes": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}

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
    sets = {split: read_stamps(stamps, split, training, draw, workers) for split in SPLITS}
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
        bands=BANDS,
        size_pixels=SIZE_PIXELS,
        parameters=count_parameters(model),
        training=training,
        counts={
            **dict(zip(("non_lenses", "lenses"), sets["train"].sizes(), strict=True)),
            **dict(zip(("held_out_non_lenses", "held_out_lenses"), held_out.sizes(), strict=True)),
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


def _train_member(
    folder: Path,
    training: ShippedTraining,
    member: int,
    key: str,
    sets: dict[str, Stamps],
    devices: Devices,
) -> keras.Model:
    """Train one of the networks, or take up its training where it was; return it."""
    section = training.training(member)
    data = StampBatches(sets["train"], training, member, devices)
    place = folder / "members" / section.name
    fit = Fit(
        initial_model(section, BANDS, data),
        section,
        BANDS,
        data,
        HeldOut(sets["held-out"], training.crop),
        Backup(place / "backup", key),
    )
    log.info("network %d of %d", member + 1, training.members)
    fit.run(section.epochs)
    write_history(place, pd.DataFrame(fit.history), section.epochs)
    return fit.kept_model()


def _uncropped(network: keras.Model, training: ShippedTraining) -> keras.Model:
    """Return the same network for whole cutouts, of which it crops the central region."""
    section = training.training(0)
    settings: dict[str, Any] = {**section.network_settings, "crop": training.crop}
    model = build(section.network, BANDS, SIZE_PIXELS, **settings)
    model.set_weights(network.get_weights())
    return model


def _joined(networks: list[keras.Model]) -> keras.Model:
    """Average the probabilities of several networks; a single one is returned as it is."""
    if len(networks) == 1:
        return networks[0]
    return join({f"member_{i}": network for i, network in enumerate(networks, 1)}, "mean")


def _figures(labels: np.ndarray, p: np.ndarray) -> dict[str, float | None]:
    """Figures of the card, from labels and scores."""
    lenses, nonlenses = p[labels == 1], p[labels == 0]
    figures: dict[str, float | None] = {"auc": auc(lenses, nonlenses)}
    for name, rate in (("completeness10", 0.1), ("completeness1", 0.01)):
        figures |= name_interval(name, completeness_at_true_rate(lenses, nonlenses, rate))
    return figures


def _command(training: ShippedTraining) -> str:
    """Command that trains the model again."""
    values = training.model_dump(mode="json")
    options = [f"--{name.replace('_', '-')} {value}" for name, value in values.items()]
    return " ".join(["lenspipe train-shipped --output shipped", *options])
