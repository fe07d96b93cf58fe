"""Scoring with TensorFlow: compiled for a GPU, or folded and frozen for a CPU."""

import functools

import numpy as np
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from lenspipe.scoring.backends.folding import fold
from lenspipe.utils.tensorflow import gpus, tf

__all__ = ["TensorFlow", "compiled", "run_padded"]

#: Cutouts that a CPU works on at once: as fast as more, and their feature maps take less memory.
_AT_ONCE = 32


class TensorFlow:
    """A trained network in TensorFlow.

    Parameters
    ----------
    model : keras.Model
        From (N, B, S, S) nanomaggies to (N, K).
    batch_size : int
        Cutouts that a GPU works on at once.
    symmetries : {1, 8}
        Orientations whose scores are averaged.
    """

    name = "TensorFlow"

    def __init__(self, model, batch_size, symmetries):
        self._outputs = model.output_shape[1]
        if gpus:
            self._at_once = batch_size
            self._score = functools.partial(
                run_padded, compiled(model, batch_size, symmetries), batch_size=batch_size
            )
        else:
            self._at_once = min(batch_size, _AT_ONCE)
            frozen = _freeze(fold(model), symmetries)
            self._score = lambda images: frozen(tf.constant(images))[0].numpy()

    def __call__(self, images):
        """Score (N, B, S, S) cutouts."""
        parts = [
            self._score(images[start : start + self._at_once])
            for start in range(0, len(images), self._at_once)
        ]
        return np.concatenate([np.zeros((0, self._outputs), np.float32), *parts])


@functools.lru_cache(maxsize=4)
def compiled(model, batch_size, symmetries):
    """Compile a model for one shape of batch, so that nothing is traced twice.

    Parameters
    ----------
    model : keras.Model
        May be trained on; the function follows.
    batch_size : int
    symmetries : {1, 8}

    Returns
    -------
    tf.Function
    """
    return tf.function(
        _mean_score(model, symmetries),
        input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.float32)],
        jit_compile=bool(gpus),
    )


def run_padded(function, images, batch_size):
    """Give a function that takes batches of one size a batch that may be smaller.

    Parameters
    ----------
    function : callable
        As of `compiled`.
    images : ndarray of float32, (N, B, S, S)
    batch_size : int
        At least N.

    Returns
    -------
    ndarray of float32, (N, K)
    """
    n = len(images)
    if n < batch_size:
        padding = np.zeros((batch_size - n, *images.shape[1:]), np.float32)
        images = np.concatenate([images, padding])
    return function(images).numpy()[:n].astype(np.float32)


def _mean_score(model, symmetries):
    def mean_score(images):
        scores = []
        for orientation in range(symmetries):
            turned = tf.reverse(images, [2]) if orientation & 1 else images
            turned = tf.reverse(turned, [3]) if orientation & 2 else turned
            turned = tf.transpose(turned, (0, 1, 3, 2)) if orientation & 4 else turned
            scores.append(model(turned, training=False))
        return tf.add_n(scores) / symmetries

    return mean_score


def _freeze(model, symmetries):
    """Make constants of the weights, so that TensorFlow can compute ahead what depends on no image.

    With them a biased convolution and its activation become one operation.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    function = tf.function(_mean_score(model, symmetries), input_signature=signature)
    return convert_variables_to_constants_v2(function.get_concrete_function())
