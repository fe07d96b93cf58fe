"""The shielded residual network of Huang et al. 2021 (arXiv:2005.04730, section 3.2)."""

from lenspipe.models.layers import bottleneck, head, stem
from lenspipe.utils.tensorflow import keras

__all__ = ["PRESETS", "shielded_resnet"]

#: Name -> width, mid, shield, last.
PRESETS = {"60k": (32, 16, 16, 32), "194k": (52, 32, 12, 24)}


def shielded_resnet(
    bands: list[str],
    size: int,
    preset: str = "60k",
    width: int | None = None,
    mid: int | None = None,
    shield: int | None = None,
    last: int | None = None,
    stages: int = 5,
    units: int = 3,
    stem_filters: int = 32,
    stem_kernel: int = 7,
    stem_stride: int = 1,
    clip_sigma: float = 250.0,
    compress: bool = False,
    crop: int | None = None,
) -> keras.Model:
    """Build the network: groups of units, separated by 1x1 convolutions that reduce the channels.

    The widths were not published. Those of preset 60k give 60,193 trainable parameters (the paper:
    about 60 thousand), those of 194k 192,953 (arXiv:2508.20087: 194,433).

    Parameters
    ----------
    bands, size
        Names of the bands, in order; side of a cutout, pixels.
    preset : {"60k", "194k"}
        Widths for about that many parameters, where they are not given.
    width, mid, shield, last
        Channels: output of a stage; within a unit; of the shield before each stage but the first;
        output of the last stage.
    stages, units
        Stages, and units in a stage. Every stage but the first halves the size of the map.
    stem_filters, stem_kernel, stem_stride
        Of the first convolution.
    clip_sigma, compress
        As for `lenspipe.models.layers.Normalise`.
    crop
        Side of the central region that the network sees, pixels; everything if not given.

    Raises
    ------
    ValueError
        There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"found preset {preset!r}, expected one of {', '.join(PRESETS)}")
    given = (width, mid, shield, last)
    width, mid, shield, last = (
        value if value is not None else default
        for value, default in zip(given, PRESETS[preset], strict=True)
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
