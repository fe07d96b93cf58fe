"""Loss, optimiser, learning rate, and which epoch is the best."""

import math

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

__all__ = ["best_epoch", "learning_rate", "loss_of", "make_optimizer", "settled_from"]

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(own):
    """Make the optimiser.

    Parameters
    ----------
    own : lenspipe.config.training.Training

    Returns
    -------
    keras.Optimizer

    Raises
    ------
    LenspipeError
        It does not know one of ``optimizer_settings``, or the training can't heed it.
    """
    if ignored := own.optimizer_settings.keys() & {"use_ema", "gradient_accumulation_steps"}:
        raise LenspipeError(
            f"config key training.optimizer_settings.{min(ignored)}: lenspipe's training can't "
            "heed it; leave it out"
        )
    try:
        return _OPTIMIZERS[own.optimizer](own.learning_rate, **own.optimizer_settings)
    except (TypeError, ValueError) as error:
        raise LenspipeError(
            f"config key training.optimizer_settings: found {own.optimizer_settings}, which "
            f"Keras' {own.optimizer} refuses ({' '.join(str(error).split())}); correct them"
        ) from error


def learning_rate(own, epoch):
    """Learning rate in an epoch.

    Parameters
    ----------
    own : lenspipe.config.training.Training
    epoch : int
        From 0.

    Returns
    -------
    float
    """
    rate = own.learning_rate
    if epoch < own.warmup_epochs:
        return rate * (epoch + 1) / (own.warmup_epochs + 1)
    if own.schedule == "steps":
        return rate * own.decay_factor ** sum(start <= epoch for start in own.decay_epochs)
    part = (epoch - own.warmup_epochs) / max(own.epochs - own.warmup_epochs, 1)
    return rate * (1 + math.cos(math.pi * part)) / 2


def settled_from(own):
    """First epoch, from 0, of those of which ``keep: settled`` keeps the best.

    Parameters
    ----------
    own : lenspipe.config.training.Training

    Returns
    -------
    int
    """
    if own.keep == "last":
        return own.epochs - 1
    if own.keep == "best":
        return 0
    if own.schedule == "cosine":
        return own.epochs - math.ceil(own.epochs / 10)
    starts = [start for start in own.decay_epochs if start < own.epochs]
    return max([min(own.warmup_epochs, own.epochs - 1), *starts])


def best_epoch(own, history):
    """The epoch to keep.

    Parameters
    ----------
    own : lenspipe.config.training.Training
    history : list of dict
        What was measured after each epoch.

    Returns
    -------
    dict or None
        An entry of `history`: of equal ones the first, the last one without a validation split;
        None where the epochs that count have not come yet.
    """
    candidates = history[settled_from(own) :]
    if not candidates:
        return None
    if candidates[-1]["val_auc"] is None:
        return candidates[-1]
    if own.monitor == "loss":
        return min(candidates, key=lambda row: row["val_loss"])
    return max(candidates, key=lambda row: (row["val_auc"], -row["val_loss"]))


def loss_of(own):
    """Loss of each example.

    Parameters
    ----------
    own : lenspipe.config.training.Training

    Returns
    -------
    callable
        From labels (N, 1) and probabilities (N, 1) to losses (N,).
    """
    if own.loss == "focal":
        return lambda label, p: keras.losses.binary_focal_crossentropy(
            label, p, gamma=2.0, label_smoothing=own.label_smoothing
        )
    return lambda label, p: keras.losses.binary_crossentropy(
        label, p, label_smoothing=own.label_smoothing
    )
