"""Fitting of the stacker, which combines the probabilities of an ensemble's members."""

import numpy as np

from lenspipe.models import stacker
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras, tf

__all__ = ["LEAST", "fit_stacker"]

#: Fewest lenses, and others, to fit to.
LEAST = 10

#: Parts into which the galaxies are divided to find how long to fit.
FOLDS = 5

# The fit is looked at every so many steps, and ends after so many looks.
_STRIDE, _LOOKS = 10, 50

_RATE, _WEIGHT_DECAY = 0.01, 0.01


def fit_stacker(p, label, hidden=300, seed=1):
    """Fit a stacker to the probabilities of lenses and other galaxies that no member learnt from.

    Binary cross-entropy is lowered by Adam with decoupled weight decay on all galaxies at once. How
    many steps are right, five fits tell of which each leaves out a fifth of either class: as many
    as give the lowest loss on what was left out. A sample of hundreds, which the network's 1,201
    weights could learn by heart, is stopped early so.

    Parameters
    ----------
    p : array_like of float, (N, K)
        Probabilities given by each member.
    label : array_like, (N,)
        1 lens, 0 none.
    hidden : int
        Units in the hidden layer.
    seed : int
        Of the first weights and of the five parts.

    Returns
    -------
    model : keras.Model
        From (N, K) to (N, 1).
    left_out : ndarray of float32, (N,)
        Its probabilities for the same galaxies by those of the five fits that did not see them.
    steps : int
        How many were taken.

    Raises
    ------
    LenspipeError
        There are less than `LEAST` lenses or others.
    """
    p, label = np.asarray(p, np.float32), np.asarray(label, np.float32)
    counts = int(label.sum()), int((1 - label).sum())
    if min(counts) < LEAST:
        raise LenspipeError(
            f"config key ensemble.combine: for the stacker found {counts[0]} lenses and "
            f"{counts[1]} others in the validation split, expected at least {LEAST} of "
            "each; enlarge that split by sample.fractions, or set ensemble.combine to mean"
        )
    fold = _divide(label, np.random.default_rng(seed))
    # The fit is small, and on a CPU the same numbers come out each time.
    with tf.device("CPU"):
        fit = _Fit(p.shape[1], hidden, seed)
        left_out = np.zeros((_LOOKS, len(p)), np.float32)
        for number in range(FOLDS):
            held = fold == number
            fit.restart()
            for look in range(_LOOKS):
                fit.advance(tf.constant(p[~held]), tf.constant(label[~held, None]))
                left_out[look, held] = fit.model(p[held]).numpy()[:, 0]
        best = _earliest(label, left_out)
        fit.restart()
        for _ in range(best + 1):
            fit.advance(tf.constant(p), tf.constant(label[:, None]))
    return fit.model, left_out[best], (best + 1) * _STRIDE


def _divide(label, rng):
    """Number of each galaxy's part; each has as many lenses as the next, but for one."""
    fold = np.zeros(len(label), int)
    for value in (0, 1):
        places = rng.permutation(np.flatnonzero(label == value))
        fold[places] = np.arange(len(places)) % FOLDS
    return fold


def _earliest(label, left_out):
    """First look, from 0, whose loss is the lowest but for what chance may make of it."""
    p = np.clip(left_out.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(label > 0.5, np.log(p), np.log1p(-p))
    excess = losses - losses[losses.mean(axis=1).argmin()]
    return int(np.argmax(excess.mean(axis=1) <= excess.std(axis=1) / np.sqrt(len(label))))


class _Fit:
    """A stacker that can be fitted again from the same beginning, without compiling it anew."""

    def __init__(self, members, hidden, seed):
        self.model = stacker(members, hidden, seed)
        self.optimizer = keras.optimizers.AdamW(_RATE, weight_decay=_WEIGHT_DECAY)
        self.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, *self.optimizer.variables]
        self.first = [variable.numpy() for variable in self.variables]
        signature = [tf.TensorSpec((None, n), tf.float32) for n in (members, 1)]
        self.advance = tf.function(self._advance, input_signature=signature)

    def restart(self):
        """Go back to the beginning."""
        for variable, value in zip(self.variables, self.first, strict=True):
            variable.assign(value)

    def _advance(self, p, label):
        for _ in tf.range(_STRIDE):
            with tf.GradientTape() as tape:
                losses = keras.losses.binary_crossentropy(label, self.model(p))
                loss = tf.reduce_mean(losses)
            weights = self.model.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
