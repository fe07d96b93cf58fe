"""Scoring with TensorFlow: compiled for a GPU, or folded and frozen for a CPU."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from lenspipe.scoring.backends.folding import fold
from lenspipe.utils.tensorflow import gpus, keras, tf

__all__ = ["TensorFlow", "compiled", "freeze", "run_padded"]

#: Cutouts that a CPU processes at once: as fast as more, and with less memory for feature maps.
_AT_ONCE = 32


class TensorFlow:
    """A trained network in TensorFlow.

    Parameters
    ----------
    model
        From (N, B, S, S) nanomaggies to (N, K).
    batch_size
        Cutouts that a GPU processes at once.
    symmetries : {1, 8}
        Orientations whose scores are averaged.
    """

    name = "TensorFlow"

    def __init__(self, model: keras.Model, batch_size: int, symmetries: int) -> None:
        self._outputs = model.output_shape[1]
        self._score: Callable[[np.ndarray], np.ndarray]
        if gpus:
            self._at_once = batch_size
            self._score = functools.partial(
                run_padded, compiled(model, batch_size, symmetries), batch_size=batch_size
            )
        else:
            self._at_once = min(batch_size, _AT_ONCE)
            mean_score = _mean_score(_inference(fold(model)), symmetries)
            frozen = freeze(mean_score, (None, *model.input_shape[1:]))
            self._score = lambda images: frozen(tf.constant(images))[0].numpy()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score (N, B, S, S) cutouts."""
        parts = [
            self._score(images[start : start + self._at_once])
            for start in range(0, len(images), self._at_once)
        ]
        return np.concatenate([np.zeros((0, self._outputs), np.float32), *parts])


@functools.lru_cache(maxsize=4)
def compiled(
    model: keras.Model, batch_size: int, symmetries: int
) -> Callable[[np.ndarray], tf.Tensor]:
    """Compile a model for one batch size, so that nothing is traced twice.

    The model may still be training; the function uses its current weights.
    """
    # A function of its own is traced once, not again for each orientation.
    return tf.function(
        _mean_score(tf.function(_inference(model), autograph=False), symmetries),
        input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.float32)],
        jit_compile=bool(gpus),
        autograph=False,
    )


def run_padded(
    function: Callable[[np.ndarray], tf.Tensor], images: np.ndarray, batch_size: int
) -> np.ndarray:
    """Call a function for batches of one size with a batch that may be smaller.

    The function is that of `compiled`; images, float32 (N, B, S, S), are at most `batch_size`.
    Scores are float32, (N, K).
    """
    n = len(images)
    if n < batch_size:
        padding = np.zeros((batch_size - n, *images.shape[1:]), np.float32)
        images = np.concatenate([images, padding])
    return function(images).numpy()[:n].astype(np.float32)


def _inference(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda images: model(images, training=False)


def _mean_score(
    score: Callable[[tf.Tensor], tf.Tensor], symmetries: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    def mean_score(images: tf.Tensor) -> tf.Tensor:
        scores = []
        for orientation in range(symmetries):
            oriented = tf.reverse(images, [2]) if orientation & 1 else images
            oriented = tf.reverse(oriented, [3]) if orientation & 2 else oriented
            oriented = tf.transpose(oriented, (0, 1, 3, 2)) if orientation & 4 else oriented
            scores.append(score(oriented))
        return tf.add_n(scores) / symmetries

    return mean_score


def freeze(
    model: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int | None]
) -> tf.types.experimental.ConcreteFunction:
    """Turn the weights into constants, so that TensorFlow can precompute what no image enters.

    A biased convolution and its activation then become one operation. The shape is that of a batch
    of images.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    signature = [tf.TensorSpec(shape, tf.float32)]
    function = tf.function(model, input_signature=signature, autograph=False)
    return convert_variables_to_constants_v2(function.get_concrete_function())
