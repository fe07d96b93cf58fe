"""The shielded residual network of Huang et al. 2021 (arXiv:2005.04730, section 3.2)."""

from lenspipe.models.layers import bottleneck, head, stem
from lenspipe.utils.tensorflow import keras

__all__ = ["PRESETS", "shielded_resnet"]

#: Name -> width, mid, shield, last.
PRESETS = {"60k": (32, 16, 16, 32), "194k": (52, 32, 12, 24)}


def shielded_resnet(
    bands,
    size,
    preset="60k",
    width=None,
    mid=None,
    shield=None,
    last=None,
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

    The widths were not published. Those of preset 60k give 60,193 trainable parameters (the paper:
    about 60 thousand), those of 194k 192,953 (arXiv:2508.20087: 194,433).

    Parameters
    ----------
    bands : list of str
        Names of the bands, in order.
    size : int
        Side of a cutout, pixels.
    preset : {"60k", "194k"}
        Widths for about so many parameters, where they are not given.
    width : int, optional
        Channels that a stage gives.
    mid : int, optional
        Channels within a unit.
    shield : int, optional
        Channels of the shield before each stage but the first.
    last : int, optional
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

    Raises
    ------
    ValueError
        There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"found preset {preset!r}, expected one of {', '.join(PRESETS)}")
    given = (width, mid, shield, last)
    width, mid, shield, last = (
        own if own is not None else default
        for own, default in zip(given, PRESETS[preset], strict=True)
    )
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
