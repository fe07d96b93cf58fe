"""Batches that a network is trained and validated on, epoch by epoch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lenspipe.config.training import Training
from lenspipe.inspection.store import TAGS
from lenspipe.products.records import dataset
from lenspipe.products.tables import read_table
from lenspipe.scoring.score import predict
from lenspipe.scoring.splits import score_batches
from lenspipe.statistics.metrics import auc, cross_entropy
from lenspipe.training.augmentation import draw
from lenspipe.training.devices import Devices
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, keras, tf

__all__ = [
    "Batches",
    "TrainingData",
    "Validation",
    "ValidationData",
    "choose_classes",
    "count_classes",
    "training_seed",
]

#: Maximum weight of a lens that ``lens_weight: null`` chooses.
MAX_LENS_WEIGHT = 10.0

#: Minimum number of non-lenses of a class that the network learns.
_MIN_OF_CLASS = 20

#: Number of cutouts on which the network's normalisation is measured.
_NORMALISED_ON = 512


def count_classes(sample: Path, fractions: Sequence[float]) -> dict[str, tuple[int, int]]:
    """Count lenses and non-lenses in splits ``train`` and ``validation`` of the sample's table.

    `fractions`, of ``sample.fractions``, are those of the lenses in the splits.

    Raises
    ------
    LenspipeError
        A split that should have both classes lacks one.
    """
    table = read_table(sample, "sample", columns=["split", "label"])
    counts = {}
    for split, fraction in zip(("train", "validation"), fractions, strict=False):
        labels = table.loc[table["split"] == split, "label"]
        counts[split] = (int((labels == 1).sum()), int((labels == 0).sum()))
        if fraction and 0 in counts[split]:
            raise LenspipeError(
                f"{sample}: found {counts[split][0]} lenses and {counts[split][1]} non-lenses in "
                f"the {split} split, expected some of each; give more known lenses "
                "(sample.known_lenses), search more sky (footprint), or change sample.fractions"
            )
    return counts


def choose_classes(sample: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Choose the classes of ``training.classes`` that the training split has enough examples of.

    Tags of graded galaxies and kinds of confusing ones are in column ``class`` of the sample.

    Raises
    ------
    LenspipeError
        A class is neither a tag nor in the sample.
    """
    if not names:
        return ()
    table = read_table(sample, "sample", columns=["split", "class"])
    kinds = table["class"].str.partition(":")[2]
    known = sorted({*TAGS, *kinds} - {""})
    if unknown := [name for name in names if name not in known]:
        raise LenspipeError(
            f"config key training.classes: found {unknown[0]!r}, expected some of "
            f"{', '.join(known)}, the tags and what {sample} has"
        )
    counts = kinds[table["split"] == "train"].value_counts()
    numbers = {name: int(counts.get(name, 0)) for name in names}
    few = {name: n for name, n in numbers.items() if n < _MIN_OF_CLASS}
    for name, n in few.items():
        log.info(
            "training: class %s has %d galaxies to train on, fewer than %d; they are left among "
            "the other non-lenses", name, n, _MIN_OF_CLASS,
        )  # fmt: skip
    return tuple(name for name in numbers if name not in few)


def training_seed(training: Training, run_seed: int) -> int:
    """Seed of a network's training: ``training.seed``, or else the run's."""
    return run_seed if training.seed is None else training.seed


class Batches(Protocol):
    """What a network is trained on.

    Attributes
    ----------
    batch_size, steps
        Cutouts in a batch; batches in an epoch.
    shape
        Number of bands and side of a cutout in pixels.
    classes
        Classes of non-lenses that are told apart, whose labels are 2 and more.
    """

    batch_size: int
    steps: int
    shape: tuple[int, int]
    classes: tuple[str, ...]
    seed: int
    devices: Devices

    def some_images(self) -> np.ndarray:
        """Cutouts to measure level and noise on, float32 (N, B, S, S) nanomaggies."""
        ...

    def epoch(self, epoch: int) -> Iterable[Any]:
        """Batches of an epoch (from 0): images, draws, labels and weights."""
        ...

    def ids(self, epoch: int, step: int) -> list[str]:
        """Identifiers of the cutouts of a batch; epoch and step count from 0."""
        ...


class Validation(Protocol):
    """What a network is judged on after each epoch."""

    def measure(
        self, model: keras.Model, progress: Callable[[str], object]
    ) -> tuple[float | None, float | None, np.ndarray, np.ndarray]:
        """Measure a model, as `ValidationData.measure` does."""
        ...


class TrainingData:
    """Batches of the labelled sample; they depend on seed and epoch only, not on the devices.

    Parameters
    ----------
    shards
        Files of records of the splits to train on.
    counts
        Split -> (lenses, non-lenses), of the splits to train on.
    shape
        Number of bands and side of a cutout in pixels.
    training
        Batch size and weights are used.
    seed
        Seed of the order of the sample and of its augmentation.
    devices
        Each batch is divided between them.
    classes
        As in `Batches`.

    Attributes
    ----------
    batch_size, steps : int
        Cutouts in a batch; batches in an epoch. The last batch is left out if it isn't full:
        batch normalisation suffers from a batch of a few.

    Raises
    ------
    LenspipeError
        The devices can't share a batch, or would clip gradients separately.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        counts: Mapping[str, tuple[int, int]],
        shape: tuple[int, int],
        training: Training,
        seed: int,
        devices: Devices,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.shards, self.shape, self.seed, self.devices = shards, shape, seed, devices
        self.classes = classes
        lenses, nonlenses = (sum(numbers) for numbers in zip(*counts.values(), strict=True))
        self.lens_weight = training.lens_weight or max(
            1.0, min(nonlenses / lenses, MAX_LENS_WEIGHT)
        )
        self.batch_size = min(training.batch_size, lenses + nonlenses)
        self.steps = (lenses + nonlenses) // self.batch_size
        if self.batch_size % devices.n_replicas:
            whole = max(self.batch_size // devices.n_replicas, 1) * devices.n_replicas
            raise LenspipeError(
                f"config key training.batch_size: a batch of {self.batch_size} can't be divided "
                f"between {devices.n_replicas} devices; set it to {whole}"
            )

        clipping = training.optimizer_settings.keys() & {
            "clipnorm",
            "clipvalue",
            "global_clipnorm",
        }
        if clipping and devices.n_replicas > 1:
            raise LenspipeError(
                f"config key training.optimizer_settings.{min(clipping)}: Keras would clip the "
                f"gradients of each of the {devices.n_replicas} devices separately; leave it out, "
                "or set training.strategy to one"
            )

    def some_images(self) -> np.ndarray:
        """Read cutouts to measure level and noise on, (512, B, S, S) or fewer."""
        batches = dataset(self.shards, _NORMALISED_ON, *self.shape, columns=["image"])
        return next(iter(batches))["image"].numpy()

    def _epoch_seed(self, epoch: int) -> int:
        return self.seed * 100_003 + epoch

    def _records(
        self, epoch: int, columns: list[str], part: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        return dataset(
            self.shards,
            self.batch_size,
            *self.shape,
            columns=columns,
            shuffle=self._epoch_seed(epoch),
            drop_remainder=True,
            part=part,
        )

    def epoch(self, epoch: int) -> Iterable[Any]:
        """Batches of an epoch (from 0), (images, draws, labels, weights), for `Steps`.

        Where several devices share a batch, these are `tf.distribute.DistributedValues`.
        """
        if self.devices.n_replicas == 1:
            batches = self._batches(epoch, 0, 1, 1)
            # Batches are copied to the GPU while it works on earlier ones.
            to_gpu = tf.data.experimental.prefetch_to_device("/GPU:0") if gpus else None
            return batches.apply(to_gpu) if to_gpu else batches
        return self.devices.strategy.distribute_datasets_from_function(
            lambda context: self._batches(
                epoch,
                context.input_pipeline_id,
                context.num_input_pipelines,
                self.devices.n_replicas // context.num_input_pipelines,
            )
        )

    def _batches(self, epoch: int, machine: int, n_machines: int, n_local: int) -> tf.data.Dataset:
        """Batches for the devices of a machine, device after device."""
        seed = tf.constant(self._epoch_seed(epoch), tf.int64)
        n_here = self.batch_size // n_machines
        first = machine * n_here

        @tf.autograph.experimental.do_not_convert
        def prepare(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            label = batch["label"][:, None]
            weight = tf.where(label == 1, self.lens_weight, 1.0)
            if self.classes:
                kind = tf.strings.regex_replace(batch["class"], "^[^:]*:", "")
                found = tf.cast(kind[:, None] == tf.constant(self.classes), tf.float32)
                numbers = tf.range(2.0, 2.0 + len(self.classes))
                label += (1 - label) * tf.linalg.matvec(found, numbers)[:, None]
            draws = draw(self.batch_size, tf.stack([seed, step]))[first : first + n_here]
            return batch["image"], draws, label, weight

        columns = ["image", "label", *(["class"] if self.classes else [])]
        records = self._records(epoch, columns, (machine, n_machines))
        batches = records.enumerate().map(prepare)
        if n_local > 1:
            batches = batches.map(
                lambda *values: tuple(
                    tf.reshape(v, (n_local, n_here // n_local, *v.shape[1:])) for v in values
                )
            ).unbatch()
        steps = tf.data.experimental.assert_cardinality(self.steps * n_local)
        return batches.apply(steps).prefetch(tf.data.AUTOTUNE)

    def ids(self, epoch: int, step: int) -> list[str]:
        """Identifiers of the galaxies of a batch; epoch and step count from 0."""
        batch = next(iter(self._records(epoch, ["id"]).skip(step)))
        return [id_.decode() for id_ in batch["id"].numpy()]


class ValidationData:
    """The validation split.

    Parameters
    ----------
    shards
        Files of its records.
    batch_size
        Cutouts that are scored at once.
    shape
        Number of bands and side of a cutout in pixels.
    """

    def __init__(self, shards: Sequence[Path], batch_size: int, shape: tuple[int, int]) -> None:
        self.batches = dataset(shards, batch_size, *shape, columns=["image", "label"])

    def measure(
        self, model: keras.Model, progress: Callable[[str], object]
    ) -> tuple[float | None, float | None, np.ndarray, np.ndarray]:
        """Measure a model.

        Return binary cross-entropy, area under the ROC curve, and the probabilities of lenses and
        of non-lenses, float64 (N,) and (M,). `progress` is called after each batch with a text.
        """
        scores = score_batches(
            self.batches,
            lambda images: predict(model, images),
            lambda n: progress(f"validation, {n} batches"),
        )
        label, p = (scores[name].to_numpy(np.float64) for name in ("label", "p"))
        lenses, nonlenses = p[label == 1], p[label == 0]
        return cross_entropy(label, p), auc(lenses, nonlenses), lenses, nonlenses
