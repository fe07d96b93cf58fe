"""The shielded residual network of Huang et al. 2021 (arXiv:2005.04730, section 3.2)."""

from lenspipe._tensorflow import keras
from lenspipe.models.layers import bottleneck, head, stem

__all__ = ["shielded_resnet"]


def shielded_resnet(
    bands,
    size,
    width=32,
    mid=16,
    shield=16,
    last=32,
    stages=5,
    units=3,
    stem_filters=32,
    stem_kernel=7,
    stem_stride=1,
    clip_sigma=250.0,
    compress=False,
    crop=None,
):
    """Make the network: groups of units, with 1x1 convolutions between them to cut the channels.

    The widths were not published. The defaults give 60,193 trainable parameters (the paper: about
    60 thousand); width 52, mid 32, shield 12 and last 24 give 192,953 (arXiv:2508.20087: 194,433).

    Parameters
    ----------
    bands : list of str
        Names of the bands, in order.
    size : int
        Side of a cutout, pixels.
    width : int
        Channels that a stage gives.
    mid : int
        Channels within a unit.
    shield : int
        Channels of the shield before each stage but the first.
    last : int
        Channels that the last stage gives.
    stages, units : int
        Stages, and units in a stage. Every stage but the first halves the map.
    stem_filters, stem_kernel, stem_stride : int
        Of the first convolution.
    clip_sigma, compress
        Of `lenspipe.models.layers.Normalise`.
    crop : int, optional
        Side of the central part that the network sees, pixels; all if not given.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).
    """
    inputs, x = stem(
        bands, size, stem_filters, stem_kernel, stem_stride, clip_sigma, compress, crop
    )
    for stage in range(stages):
        if stage > 0:
            x = keras.layers.Conv2D(shield, 1, kernel_initializer="he_normal")(x)
        for unit in range(units):
            stride = 2 if stage > 0 and unit == 0 else 1
            out = last if stage == stages - 1 else width
            x = bottleneck(x, mid, out, stride, activate=stage + unit > 0)
    return head(inputs, x, "shielded_resnet")
