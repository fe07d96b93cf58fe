"""Simulated stamps in memory, on which the model that comes with lenspipe is trained."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lenspipe.config.training import ShippedTraining
from lenspipe.scoring.score import score_images
from lenspipe.statistics.metrics import auc, cross_entropy
from lenspipe.training.augmentation import N_DRAWS
from lenspipe.training.devices import Devices
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras, tf

__all__ = [
    "BANDS",
    "SIZE_PIXELS",
    "SPLITS",
    "Draw",
    "HeldOut",
    "Kind",
    "StampBatches",
    "Stamps",
    "read_stamps",
]

#: Kind of a stamp.
Kind = Literal["lens", "nonlens"]

#: Draws simulated stamps: kind (``lens`` or ``nonlens``), their number, a seed and the number of
#: processes -> images, float32 (N, 3, 101, 101) nanomaggies, and a table with a row for each.
Draw = Callable[[Kind, int, int, int | None], tuple[np.ndarray, pd.DataFrame]]

BANDS, SIZE_PIXELS = ("g", "r", "z"), 101

#: Stamps of a file; those of a killed run are drawn again, all others are kept.
_PER_SHARD = 500

#: Maximum shift of an augmented stamp, pixels: stamps are kept that much larger than the crop.
_MARGIN = 4

_KINDS: tuple[Kind, Kind] = ("nonlens", "lens")

#: Splits -> offset of their first shard.
SPLITS = {"train": 0, "held-out": 1_000_000}


class Stamps(NamedTuple):
    """Central regions of stamps, float32 (N, 3, S, S), and their labels, 1 for lenses, (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def centres(self, side: int) -> np.ndarray:
        """Central regions of a side in pixels, (N, 3, side, side)."""
        first = (self.images.shape[-1] - side) // 2
        return self.images[:, :, first : first + side, first : first + side]

    def sizes(self) -> tuple[int, int]:
        """Numbers of non-lenses and of lenses."""
        n_lenses = int(self.labels.sum())
        return len(self.labels) - n_lenses, n_lenses


def read_stamps(
    folder: Path, split: str, training: ShippedTraining, draw: Draw, workers: int | None
) -> Stamps:
    """Read the stamps of a split, after drawing those that are not there yet."""
    fraction = 1 if split == "train" else training.held_out
    numbers: dict[Kind, int] = {"lens": training.lenses, "nonlens": training.non_lenses}
    # A rate of 10 % needs ten non-lenses at least.
    numbers = {kind: max(10, round(fraction * number)) for kind, number in numbers.items()}
    side = training.crop + 2 * _MARGIN
    images = np.empty((sum(numbers.values()), len(BANDS), side, side), np.float32)
    labels = np.repeat([1, 0], [numbers["lens"], numbers["nonlens"]]).astype(np.float32)
    start = 0
    for kind, number in numbers.items():
        for shard, first in enumerate(range(0, number, _PER_SHARD)):
            count = min(_PER_SHARD, number - first)
            path = folder / f"{kind}-{split}-{shard:04d}-{count}.npy"
            if not path.is_file():
                place = [training.seed, _KINDS.index(kind), SPLITS[split] + shard]
                seed = int(np.random.SeedSequence(place).generate_state(1)[0] % 2**31)
                log.info("drawing %s stamps (%s): %d to %d of %d", kind, split, first + 1,
                         first + count, number)  # fmt: skip
                _draw_shard(path, kind, count, seed, side, draw, workers)
            images[start : start + count] = np.load(path)
            start += count
    return Stamps(images, labels)


def _draw_shard(
    path: Path, kind: Kind, count: int, seed: int, side: int, draw: Draw, workers: int | None
) -> None:
    images, table = draw(kind, count, seed, workers)
    expected = (count, len(BANDS), SIZE_PIXELS, SIZE_PIXELS)
    assert images.shape == expected, f"{kind} stamps: {images.shape}, expected {expected}"
    first = (SIZE_PIXELS - side) // 2
    with atomic(path.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(path) as temporary:
        np.save(temporary, images[:, :, first : first + side, first : first + side])


class StampBatches:
    """Batches of stamps in memory, a `lenspipe.training.data.Batches`."""

    classes: tuple[str, ...] = ()

    def __init__(
        self, stamps: Stamps, training: ShippedTraining, member: int, devices: Devices
    ) -> None:
        self.stamps, self.training, self.devices = stamps, training, devices
        self.shape = (len(BANDS), training.crop)
        self.seed = training.training(member).seed or 0
        self.batch_size = min(training.batch_size, len(stamps.labels))
        self.steps = len(stamps.labels) // self.batch_size
        n_nonlenses, n_lenses = stamps.sizes()
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


class HeldOut:
    """Stamps that are not trained on, a `lenspipe.training.data.Validation`."""

    def __init__(self, stamps: Stamps, side: int) -> None:
        self.images, self.labels = stamps.centres(side), stamps.labels

    def measure(
        self, model: keras.Model, progress: Callable[[str], object]
    ) -> tuple[float | None, float | None, np.ndarray, np.ndarray]:
        """Measure a model."""
        progress("validation")
        p = score_images(model, self.images).astype(np.float64)
        lenses, nonlenses = p[self.labels == 1], p[self.labels == 0]
        return cross_entropy(self.labels, p), auc(lenses, nonlenses), lenses, nonlenses
