"""The grid of bricks on the sky."""

import functools

import numpy as np
from astropy.wcs import WCS

from lenspipe.config.releases import BRICK_PIXELS, PIXEL_SCALE_ARCSEC

__all__ = ["BRICK_DEG", "brick_wcs", "brick_widths", "brickids_at", "bricks_at", "sky_grid"]

#: Height of a brick, and its width at most, degrees.
BRICK_DEG = 0.25


@functools.cache
def _columns():
    """How many bricks each row of the survey's grid has, from the south pole to the north."""
    dec = np.arange(-90, 90 + BRICK_DEG / 2, BRICK_DEG)
    # A row is divided where it is widest, at the edge nearest to the equator.
    widest = np.maximum(np.abs(dec) - BRICK_DEG / 2, 0)
    columns = 2 * np.ceil(360 / BRICK_DEG * np.cos(np.radians(widest)) / 2).astype(int)
    columns[[0, -1]] = 1
    return columns


def bricks_at(ra, dec):
    """Return the bricks that hold some positions, whether the survey has data there or not.

    The grid has 721 rows, centred on declinations -90, -89.75, ... 90, and in each an even number
    of bricks at most 0.25 degrees wide. A brick is called by its centre: ``1501p320``.

    Parameters
    ----------
    ra, dec : (N,) array_like of float
        Degrees.

    Returns
    -------
    names : (N,) array of str
    brickids : (N,) array of int32
        Counted from 1 at the south pole, row by row.
    """
    row, column = _cells(ra, dec)
    columns = _columns()
    # Rounded to 0.0001 degrees before the tenths are cut, as the survey's names are.
    ra_units = np.rint((column + 0.5) * 360 / columns[row] * 1e4).astype(int)
    dec_units = (row * BRICK_DEG - 90) * 10
    names = [
        f"{a // 1000:04d}{'m' if d < 0 else 'p'}{int(abs(d)):03d}"
        for a, d in zip(ra_units.tolist(), dec_units.tolist(), strict=True)
    ]
    return np.array(names, dtype="U8"), _brickids(row, column)


def brickids_at(ra, dec):
    """Return the numbers alone of the bricks that hold some positions, as `bricks_at` does.

    Parameters
    ----------
    ra, dec : (N,) array_like of float
        Degrees.

    Returns
    -------
    (N,) array of int32
    """
    return _brickids(*_cells(ra, dec))


def _cells(ra, dec):
    """Row and column of positions in the grid of bricks."""
    ra, dec = np.mod(np.asarray(ra, float), 360), np.asarray(dec, float)
    columns = _columns()
    row = np.clip(((dec + 90 + BRICK_DEG / 2) / BRICK_DEG).astype(int), 0, len(columns) - 1)
    return row, np.minimum((ra / 360 * columns[row]).astype(int), columns[row] - 1)


def _brickids(row, column):
    columns = _columns()
    return (1 + (np.cumsum(columns) - columns)[row] + column).astype(np.int32)


def brick_widths(dec):
    """Return how wide bricks are.

    Parameters
    ----------
    dec : (N,) array_like of float
        Declination of their centres, degrees.

    Returns
    -------
    (N,) array of float
        Difference of right ascension between their sides, degrees.
    """
    row = np.rint((np.asarray(dec, float) + 90) / BRICK_DEG).astype(int)
    return 360 / _columns()[row]


def brick_wcs(ra, dec):
    """Return the world coordinates of a coadd.

    Parameters
    ----------
    ra, dec : float
        Centre of the brick, degrees.

    Returns
    -------
    astropy.wcs.WCS
        Tangent plane, 3600 x 3600 pixels of 0.262 arcsec, reference pixel 1800.5 (counted from 1),
        north up, east left.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(BRICK_PIXELS + 1) / 2] * 2
    wcs.wcs.cd = [[-PIXEL_SCALE_ARCSEC / 3600, 0], [0, PIXEL_SCALE_ARCSEC / 3600]]
    wcs.array_shape = (BRICK_PIXELS, BRICK_PIXELS)
    return wcs


@functools.cache
def sky_grid():
    """Return the table of all bricks of the sky; made once in a process, in 4 s."""
    from desiutil.brick import Bricks

    return Bricks(bricksize=BRICK_DEG).to_table()
