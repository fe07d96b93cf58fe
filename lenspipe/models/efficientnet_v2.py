"""EfficientNetV2 (Tan & Le 2021, arXiv:2104.00298), as implemented by Keras, for cutouts."""

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lenspipe.models.layers import begin, head
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras

__all__ = ["efficientnet_v2"]

_VARIANTS = {
    "B0": keras.applications.EfficientNetV2B0,
    "S": keras.applications.EfficientNetV2S,
}

_WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/"


def efficientnet_v2(
    bands: Sequence[str],
    size: int,
    variant: str = "S",
    weights: str | None = None,
    dropout: float = 0.2,
    clip_sigma: float = 250.0,
    compress: bool = True,
    crop: int | None = None,
) -> keras.Model:
    """Build the network.

    Pixels are normalised, compressed by the inverse hyperbolic sine, and divided by the largest
    possible result. They then lie between -1 and 1, the range that networks trained on ImageNet
    expect of colours; the sky is 0, as is the padding of Keras' convolutions. Three bands become
    red, green and blue in reverse order; another number of bands becomes three channels by a 1x1
    convolution.

    Parameters
    ----------
    bands
        Names of the bands, in order, the bluest first.
    size
        Side of a cutout, pixels; at least 32 of them have to remain after `crop`.
    variant : {"B0", "S"}
        The published size: 5.9 or 20.3 million parameters.
    weights
        ``imagenet`` starts from weights trained on ImageNet, which Keras downloads once and keeps
        below ``~/.keras/models``; if they are not available, this is logged and random weights are
        used. Or the path of such a file. Random weights if not given.
    dropout
        Fraction of the inputs of the last unit that is dropped at random during training.
    clip_sigma, compress
        As for `lenspipe.models.layers.Normalise`.
    crop
        Side of the central region that the network sees, pixels; everything if not given.

    Raises
    ------
    ValueError
        There is no such variant or file of weights, or too few pixels.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"found variant {variant!r}, expected one of {', '.join(_VARIANTS)}")
    inputs, x = begin(bands, size, clip_sigma, compress, crop)
    x = keras.layers.Rescaling(1 / (math.asinh(clip_sigma) if compress else clip_sigma))(x)
    if len(bands) == 3:
        x = keras.ops.flip(x, axis=-1)
    else:
        x = keras.layers.Conv2D(3, 1, name="to_rgb")(x)
    body = _make_body(variant, weights, x.shape[1:])
    return head(inputs, body(x), "efficientnet_v2", dropout)


def _make_body(variant: str, weights: str | None, shape: tuple[int | None, ...]) -> keras.Model:
    """Keras' network up to its global average pool."""
    make = partial(
        _VARIANTS[variant],
        include_top=False,
        include_preprocessing=False,
        input_shape=shape,
        pooling="avg",
    )
    if weights == "imagenet":
        try:
            return make(weights="imagenet")
        except Exception as error:
            # Keras raises a bare Exception if it can't reach the server, and a ValueError for a
            # truncated file.
            is_download = isinstance(error, OSError) or type(error) is Exception
            if not is_download and "corrupted file" not in str(error):
                raise
            reason = " ".join(str(error).split())
        file = f"efficientnetv2-{variant.lower()}_notop.h5"
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        log.info(
            "efficientnet_v2: the ImageNet weights are not available (%s); starting from random "
            "ones. To use them, put %s into %s",
            reason, _WEIGHTS_URL + file, folder,
        )  # fmt: skip
        weights = None
    return make(weights=weights)
