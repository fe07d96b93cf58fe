"""EfficientNetV2 (Tan & Le 2021, arXiv:2104.00298), as Keras has it, for cutouts."""

import math
import os
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

_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/"


def efficientnet_v2(
    bands,
    size,
    variant="S",
    weights=None,
    dropout=0.2,
    clip_sigma=250.0,
    compress=True,
    crop=None,
):
    """Make the network.

    Pixels are normalised, compressed by the inverse hyperbolic sine, and divided by the largest
    value that this leaves. That puts them between -1 and 1, the range for which networks trained
    on ImageNet expect colours; the sky is 0, as is the padding of Keras' convolutions. Three bands
    take the places of red, green and blue from the last to the first; another number of bands
    becomes three channels by a 1x1 convolution.

    Parameters
    ----------
    bands : list of str
        Names of the bands, in order, the bluest first.
    size : int
        Side of a cutout, pixels; at least 32 of them have to be left by `crop`.
    variant : {"B0", "S"}
        The published size: 5.9 or 20.3 million parameters.
    weights : str, optional
        ``imagenet`` begins with weights trained on ImageNet, which Keras fetches once and keeps
        below ``~/.keras/models``; where they can't be had, that is logged and random weights are
        taken. Or the path of such a file. Random ones if not given.
    dropout : float
        Part of the numbers before the last unit that is left out at random while training.
    clip_sigma, compress
        Of `lenspipe.models.layers.Normalise`.
    crop : int, optional
        Side of the central part that the network sees, pixels; all if not given.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).

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


def _make_body(variant, weights, shape):
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
        except OSError as error:
            reason = error
        except Exception as error:
            # What Keras makes of a server that can't be reached is a bare Exception; of a file
            # cut short a ValueError.
            if type(error) is not Exception and "corrupted file" not in str(error):
                raise
            reason = error
        file = f"efficientnetv2-{variant.lower()}_notop.h5"
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        log.info(
            "efficientnet_v2: the ImageNet weights can't be had (%s); beginning with random ones. "
            "To use them, put %s into %s",
            " ".join(str(reason).split()), _ADDRESS + file, folder,
        )  # fmt: skip
        weights = None
    return make(weights=weights)
