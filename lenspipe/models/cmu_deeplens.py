"""CMU DeepLens: a pre-activated residual network (Lanusse et al. 2018, arXiv:1703.02642)."""

from lenspipe.models.layers import bottleneck, head, stem

__all__ = ["cmu_deeplens"]


def cmu_deeplens(
    bands,
    size,
    widths=(32, 64, 128, 256, 512),
    units=3,
    stem_filters=32,
    stem_kernel=7,
    stem_stride=1,
    clip_sigma=250.0,
    compress=False,
    crop=None,
):
    """Make the network; the defaults are the paper's (its section 3.2 and figure 3).

    Parameters
    ----------
    bands : list of str
        Names of the bands, in order.
    size : int
        Side of a cutout, pixels.
    widths : list of int
        Channels that each stage gives; within its units there are half as many. Every stage but
        the first halves the map.
    units : int
        Units in a stage.
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
    for stage, width in enumerate(widths):
        for unit in range(units):
            stride = 2 if stage > 0 and unit == 0 else 1
            x = bottleneck(x, width // 2, width, stride, activate=stage + unit > 0)
    return head(inputs, x, "cmu_deeplens")
