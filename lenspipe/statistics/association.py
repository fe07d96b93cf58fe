"""Correlation of two quantities of galaxies whose neighbours are not independent."""

import math

import numpy as np
import pandas as pd
from astropy import units as u
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike
from scipy.stats import norm

__all__ = ["correlate_within_strata", "sky_patches"]

#: HEALPix cells of 6.9 arcmin, a quarter of a brick: about as large as areas of equal exposures.
_NSIDE = 512


def sky_patches(table: pd.DataFrame) -> np.ndarray:
    """Number the patches of the sky that share observing conditions, for ra and dec in degrees."""
    grid = HEALPix(_NSIDE, order="nested")
    return grid.lonlat_to_healpix(table["ra"].to_numpy() * u.deg, table["dec"].to_numpy() * u.deg)


def correlate_within_strata(
    x: ArrayLike, y: ArrayLike, stratum: ArrayLike, patch: ArrayLike
) -> tuple[float | None, float | None, float | None]:
    """Correlate two finite quantities of N galaxies, with an error from sums over sky patches.

    Means are subtracted within strata; the contributions of different patches are independent.

    Returns
    -------
    r : float or None
        Pearson's correlation coefficient (Spearman's for ranks). None where x or y is constant.
    p : float or None
        Two-sided probability of at least this correlation if x and y are unrelated.
    min_p : float or None
        The p if the contributions of all patches had the same sign: where this is not small, there
        are too few patches to decide.

    Notes
    -----
    The statistic, a sum over patches divided by the root of the sum of their squares, is that of
    the multiplier bootstrap of `lenspipe.statistics.balance.compare_classes` for a single number,
    for which the bootstrap's distribution is known to be a standard normal one.
    """
    strata, patches = (pd.factorize(np.asarray(labels))[0] for labels in (stratum, patch))
    sizes = np.bincount(strata)

    def centred(values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, float)
        return values - (np.bincount(strata, values) / sizes)[strata]

    dx, dy = centred(x), centred(y)
    scale = math.sqrt((dx @ dx) * (dy @ dy))
    # Values that differ by rounding errors only count as equal.
    if scale <= 1e-9 * len(dx):
        return None, None, None
    sums = np.bincount(patches, dx * dy)
    error = max(math.sqrt(sums @ sums), 1e-300)
    p, min_p = (2 * norm.sf(value / error) for value in (abs(sums.sum()), np.abs(sums).sum()))
    return float(sums.sum() / scale), float(p), float(min_p)
