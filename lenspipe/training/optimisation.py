"""Loss, optimiser, learning rate, and the choice of the epoch to keep."""

import functools
import math
from collections.abc import Callable
from typing import Any

from lenspipe.config.training import Training
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras, tf

__all__ = [
    "best_epoch",
    "first_settled_epoch",
    "learning_rate",
    "loss_function",
    "make_optimizer",
]

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(training: Training) -> keras.Optimizer:
    """Make the optimiser.

    Raises
    ------
    LenspipeError
        One of ``optimizer_settings`` is unknown, or has no effect in lenspipe's training.
    """
    if ignored := training.optimizer_settings.keys() & {"use_ema", "gradient_accumulation_steps"}:
        raise LenspipeError(
            f"config key training.optimizer_settings.{min(ignored)}: lenspipe's training does not "
            "support it; leave it out"
        )
    try:
        return _OPTIMIZERS[training.optimizer](
            training.learning_rate, **training.optimizer_settings
        )
    except (TypeError, ValueError) as error:
        raise LenspipeError(
            f"config key training.optimizer_settings: found {training.optimizer_settings}, which "
            f"Keras' {training.optimizer} refuses ({' '.join(str(error).split())}); correct them"
        ) from error


def learning_rate(training: Training, epoch: int) -> float:
    """Learning rate in an epoch, counted from 0."""
    rate = training.learning_rate
    if epoch < training.warmup_epochs:
        return rate * (epoch + 1) / (training.warmup_epochs + 1)
    if training.schedule == "steps":
        return rate * training.decay_factor ** sum(s <= epoch for s in training.decay_epochs)
    elapsed = epoch - training.warmup_epochs
    fraction = elapsed / max(training.epochs - training.warmup_epochs, 1)
    return rate * (1 + math.cos(math.pi * fraction)) / 2


def first_settled_epoch(training: Training) -> int:
    """First epoch, from 0, that may be kept according to ``training.keep``."""
    if training.keep == "last":
        return training.epochs - 1
    if training.keep == "best":
        return 0
    if training.schedule == "cosine":
        return training.epochs - math.ceil(training.epochs / 10)
    starts = [start for start in training.decay_epochs if start < training.epochs]
    return max([min(training.warmup_epochs, training.epochs - 1), *starts])


def best_epoch(training: Training, history: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Choose the row of the history to keep.

    That is the first of equally good ones, or the last one without a validation split; None before
    the first epoch that may be kept.
    """
    candidates = history[first_settled_epoch(training) :]
    if not candidates:
        return None
    if candidates[-1]["val_auc"] is None:
        return candidates[-1]
    if training.monitor == "loss":
        return min(candidates, key=lambda row: row["val_loss"])
    return max(candidates, key=lambda row: (row["val_auc"], -row["val_loss"]))


def loss_function(training: Training) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Loss of each example: from labels (N, 1) and probabilities (N, 1) to losses (N,).

    Probabilities may also be those of K classes, (N, K); labels are then their numbers.
    """
    losses, smoothing = keras.losses, {"label_smoothing": training.label_smoothing}
    binary, categorical = losses.binary_crossentropy, losses.categorical_crossentropy
    if training.loss == "focal":
        binary = functools.partial(losses.binary_focal_crossentropy, gamma=2.0)
        categorical = functools.partial(losses.categorical_focal_crossentropy, alpha=1.0, gamma=2.0)

    def loss(label: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
        if p.shape[1] == 1:
            return binary(label, p, **smoothing)
        return categorical(tf.one_hot(tf.cast(label[:, 0], tf.int32), p.shape[1]), p, **smoothing)

    return loss
