"""Whether two quantities of galaxies go together, where neighbours are not independent."""

import math

import numpy as np
import pandas as pd
from astropy import units as u
from astropy_healpix import HEALPix
from scipy.stats import norm

__all__ = ["associate", "patches_of"]

#: Cells of 6.9 arcmin, a quarter of a brick: about as large as what has one number of exposures.
_NSIDE = 512


def patches_of(table):
    """Number the patches of the sky within which galaxies share what images are like.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ra, dec (degrees).

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Nested HEALPix cells of nside 512.
    """
    grid = HEALPix(_NSIDE, order="nested")
    return grid.lonlat_to_healpix(table["ra"].to_numpy() * u.deg, table["dec"].to_numpy() * u.deg)


def associate(x, y, stratum, patch):
    """Correlate two quantities within strata; the error comes from sums over patches of the sky.

    Parameters
    ----------
    x, y : array_like of float, shape (N,)
        Finite.
    stratum, patch : array_like, shape (N,)
        Labels. Means are taken away within strata; what different patches add is independent.

    Returns
    -------
    r : float or None
        Pearson's correlation coefficient; of ranks, Spearman's. None where x or y is constant.
    p : float or None
        Chance of at least this if x and y have nothing to do with one another (two-sided).
    least_p : float or None
        The p if all patches had added with the same sign: where this is not small, there are too
        few patches to tell.

    Notes
    -----
    The statistic, a sum over patches over the root of the sum of their squares, is that of the
    multiplier bootstrap of `lenspipe.statistics.balance.compare_classes` for a single number, for
    which the bootstrap's distribution is known: a standard normal one.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    stratum, patch = (pd.factorize(np.asarray(labels))[0] for labels in (stratum, patch))
    sizes = np.bincount(stratum)
    x, y = (values - (np.bincount(stratum, values) / sizes)[stratum] for values in (x, y))
    scale = math.sqrt((x @ x) * (y @ y))
    # Equal but for rounding is equal.
    if scale <= 1e-9 * len(x):
        return None, None, None
    parts = np.bincount(patch, x * y)
    error = max(math.sqrt(parts @ parts), 1e-300)
    p, least_p = (2 * norm.sf(value / error) for value in (abs(parts.sum()), np.abs(parts).sum()))
    return float(parts.sum() / scale), float(p), float(least_p)
