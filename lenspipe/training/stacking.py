"""Fit of the stacker, which combines the probabilities of an ensemble's members."""

import numpy as np
from numpy.typing import ArrayLike

from lenspipe.models.stacker import stacker
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras, tf

__all__ = ["MIN_PER_CLASS", "fit_stacker"]

#: Minimum number of lenses, and of non-lenses, for a fit.
MIN_PER_CLASS = 10

#: Folds of the cross-validation that finds the number of steps.
FOLDS = 5

# The fit is evaluated every so many steps, and stops after so many evaluations.
_STRIDE, _EVALUATIONS = 10, 50

_RATE, _WEIGHT_DECAY = 0.01, 0.01


def fit_stacker(
    p: ArrayLike, label: ArrayLike, hidden: int = 300, seed: int = 1
) -> tuple[keras.Model, np.ndarray, int]:
    """Fit a stacker to the probabilities of lenses and non-lenses that no member was trained on.

    Binary cross-entropy is minimised by Adam with decoupled weight decay on all galaxies at once.
    The number of steps is found by five-fold cross-validation, each fold with a fifth of either
    class: the number with the lowest loss on the galaxies left out. A sample of hundreds, which the
    network's 1,201 weights could memorise, is so stopped early. Return the model, from (N, K) to
    (N, 1); probabilities for the same galaxies, each by the fit that left it out, float32 (N,); and
    the number of steps taken.

    Parameters
    ----------
    p
        Probabilities given by each member, (N, K).
    label
        1 lens, 0 non-lens, (N,).
    hidden
        Units in the hidden layer.

    Raises
    ------
    LenspipeError
        There are fewer than `MIN_PER_CLASS` lenses or non-lenses.
    """
    p, label = np.asarray(p, np.float32), np.asarray(label, np.float32)
    counts = int(label.sum()), int((1 - label).sum())
    if min(counts) < MIN_PER_CLASS:
        raise LenspipeError(
            f"config key ensemble.combine: for the stacker found {counts[0]} lenses and "
            f"{counts[1]} non-lenses in the validation split, expected at least {MIN_PER_CLASS} of "
            "each; enlarge that split by sample.fractions, or set ensemble.combine to mean"
        )
    fold = _assign_folds(label, np.random.default_rng(seed))
    # The fit is small, and reproducible on a CPU.
    with tf.device("CPU"):
        fit = _Fit(p.shape[1], hidden, seed)
        left_out = np.zeros((_EVALUATIONS, len(p)), np.float32)
        for number in range(FOLDS):
            held = fold == number
            fit.restart()
            for evaluation in range(_EVALUATIONS):
                fit.advance(tf.constant(p[~held]), tf.constant(label[~held, None]))
                left_out[evaluation, held] = fit.model(p[held]).numpy()[:, 0]
        best = _earliest(label, left_out)
        fit.restart()
        for _ in range(best + 1):
            fit.advance(tf.constant(p), tf.constant(label[:, None]))
    return fit.model, left_out[best], (best + 1) * _STRIDE


def _assign_folds(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold of each galaxy; the numbers of lenses per fold differ by at most one."""
    fold = np.zeros(len(label), int)
    for value in (0, 1):
        places = rng.permutation(np.flatnonzero(label == value))
        fold[places] = np.arange(len(places)) % FOLDS
    return fold


def _earliest(label: np.ndarray, left_out: np.ndarray) -> int:
    """First evaluation whose loss exceeds the lowest by no more than its standard error."""
    p = np.clip(left_out.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(label > 0.5, np.log(p), np.log1p(-p))
    excess = losses - losses[losses.mean(axis=1).argmin()]
    return int(np.argmax(excess.mean(axis=1) <= excess.std(axis=1) / np.sqrt(len(label))))


class _Fit:
    """A stacker that can be fitted again from the same initial state without recompiling."""

    def __init__(self, members: int, hidden: int, seed: int) -> None:
        self.model = stacker(members, hidden, seed)
        self.optimizer = keras.optimizers.AdamW(_RATE, weight_decay=_WEIGHT_DECAY)
        self.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, *self.optimizer.variables]
        self.initial = [variable.numpy() for variable in self.variables]
        signature = [tf.TensorSpec((None, n), tf.float32) for n in (members, 1)]
        self.advance = tf.function(self._advance, input_signature=signature)

    def restart(self) -> None:
        """Go back to the initial state."""
        for variable, value in zip(self.variables, self.initial, strict=True):
            variable.assign(value)

    def _advance(self, p: tf.Tensor, label: tf.Tensor) -> None:
        for _ in tf.range(_STRIDE):
            with tf.GradientTape() as tape:
                losses = keras.losses.binary_crossentropy(label, self.model(p))
                loss = tf.reduce_mean(losses)
            weights = self.model.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
