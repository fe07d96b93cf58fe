"""CMU DeepLens: a pre-activated residual network (Lanusse et al. 2018, arXiv:1703.02642)."""

from collections.abc import Sequence

from lenspipe.models.layers import bottleneck, head, stem
from lenspipe.utils.tensorflow import keras

__all__ = ["cmu_deeplens"]


def cmu_deeplens(
    bands: list[str],
    size: int,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    units: int = 3,
    stem_filters: int = 32,
    stem_kernel: int = 7,
    stem_stride: int = 1,
    clip_sigma: float = 250.0,
    compress: bool = False,
    crop: int | None = None,
) -> keras.Model:
    """Build the network; the defaults are the paper's (its section 3.2 and figure 3).

    Parameters
    ----------
    bands, size
        Names of the bands, in order; side of a cutout, pixels.
    widths
        Output channels of each stage; its units have half as many inside. Every stage but the
        first halves the size of the map.
    units
        Units in a stage.
    stem_filters, stem_kernel, stem_stride
        Of the first convolution.
    clip_sigma, compress
        As for `lenspipe.models.layers.Normalise`.
    crop
        Side of the central region that the network sees, pixels; everything if not given.
    """
    inputs, x = stem(
        bands, size, stem_filters, stem_kernel, stem_stride, clip_sigma, compress, crop
    )
    for stage, width in enumerate(widths):
        for unit in range(units):
            stride = 2 if stage > 0 and unit == 0 else 1
            x = bottleneck(x, width // 2, width, stride, activate=stage + unit > 0)
    return head(inputs, x, "cmu_deeplens")
