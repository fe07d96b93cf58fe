"""The grid of bricks on the sky, and the world coordinates of a brick's coadds."""

import functools

import numpy as np
import pandas as pd
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from lenspipe.config.surveys.base import Release
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import is_brick_name

__all__ = ["BrickGrid", "brick_grid", "brick_wcs"]


class BrickGrid:
    """Division of the whole sky into bricks, with and without data.

    Rows of bricks are centred on declinations -90, -90 + height, ... 90. Each holds the smallest
    even number of bricks that makes none wider than high; the rows at the poles hold one. A brick
    is named after its centre, ``1501p320``, and numbered from 1 at the south pole, row by row. With
    a height of 0.25 degrees this is the grid of the Legacy Surveys (``desiutil.brick``).

    Parameters
    ----------
    height_deg
        Height of a brick, degrees.
    """

    def __init__(self, height_deg: float) -> None:
        self.height_deg = height_deg
        dec = np.arange(-90, 90 + height_deg / 2, height_deg)
        # A row is divided where it is widest, at the edge nearest to the equator.
        widest = np.maximum(np.abs(dec) - height_deg / 2, 0)
        columns = 2 * np.ceil(360 / height_deg * np.cos(np.radians(widest)) / 2).astype(int)
        columns[[0, -1]] = 1
        #: Number of bricks in each row, from south to north.
        self.columns = columns
        self._before = np.cumsum(columns) - columns

    def bricks_at(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return name (str) and number (int32) of the bricks that hold positions (degrees).

        Examples
        --------
        >>> names, numbers = BrickGrid(0.25).bricks_at([150.1, 0.0], [32.0, 90.0])
        >>> names.tolist(), numbers.tolist()
        (['1501p320', '1800p900'], [506100, 662174])
        """
        row, column = self._cells(ra, dec)
        return self._names(row, column), self._numbers(row, column)

    def brickids_at(self, ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
        """Return only the numbers (int32) of the bricks that hold positions (degrees)."""
        return self._numbers(*self._cells(ra, dec))

    def centre(self, name: str) -> tuple[float, float]:
        """Return the centre of the brick of a name, degrees.

        Raises
        ------
        LenspipeError
            No brick has this name.

        Examples
        --------
        >>> BrickGrid(0.25).centre("0001p000")
        (0.125, 0.0)
        """
        if is_brick_name(name):
            # The name has the tenths of degrees that the centre begins with.
            sign = -1 if name[4] == "m" else 1
            dec = sign * (int(name[5:]) / 10 + np.arange(0, 0.1, self.height_deg / 4))
            rows = np.unique(np.rint((np.clip(dec, -90, 90) + 90) / self.height_deg).astype(int))
            for row in rows:
                first = int(int(name[:4]) / 3600 * self.columns[row])
                column = np.arange(first - 1, first + 2) % self.columns[row]
                match = column[self._names(np.full(3, row), column) == name]
                if len(match):
                    ra = (match[0] + 0.5) * 360 / self.columns[row]
                    return float(ra), float(row * self.height_deg - 90)
        raise LenspipeError(f"brick {name}: no brick of the survey's grid has this name")

    def widths(self, dec: ArrayLike) -> np.ndarray:
        """Return the extents in right ascension of bricks centred on `dec`, degrees."""
        row = np.rint((np.asarray(dec, float) + 90) / self.height_deg).astype(int)
        return 360 / self.columns[row]

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """All bricks, with the columns of the Legacy Surveys' ``survey-bricks.fits.gz``.

        brickname, brickid, brickq (0 to 3, no two neighbours alike), brickrow, brickcol; and in
        degrees ra, dec and the edges ra1, ra2, dec1, dec2.
        """
        row = np.repeat(np.arange(len(self.columns)), self.columns)
        column = np.arange(len(row)) - self._before[row]
        edges = [np.linspace(0, 360, number + 1) for number in self.columns]
        dec1 = np.maximum(-90 - self.height_deg / 2 + row * self.height_deg, -90.0)
        dec2 = np.minimum(-90 - self.height_deg / 2 + (row + 1) * self.height_deg, 90.0)
        ra1 = np.concatenate([edge[:-1] for edge in edges])
        ra2 = np.concatenate([edge[1:] for edge in edges])
        return pd.DataFrame(
            {
                "brickname": self._names(row, column),
                "brickid": self._numbers(row, column),
                "brickq": np.where(row, column % 2 + row % 2 * 2, 1).astype(np.int16),
                "brickrow": row.astype(np.int32),
                "brickcol": column.astype(np.int32),
                "ra": 0.5 * (ra1 + ra2),
                "dec": -90 + row * self.height_deg,
                "ra1": ra1,
                "ra2": ra2,
                "dec1": dec1,
                "dec2": dec2,
            }
        )

    def _cells(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of positions."""
        lon, lat = np.mod(np.asarray(ra, float), 360), np.asarray(dec, float)
        height, columns = self.height_deg, self.columns
        row = np.clip(((lat + 90 + height / 2) / height).astype(int), 0, len(columns) - 1)
        return row, np.minimum((lon / 360 * columns[row]).astype(int), columns[row] - 1)

    def _numbers(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return (1 + self._before[row] + column).astype(np.int32)

    def _names(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        # Rounded to 0.0001 degrees before the tenths are cut, as the survey's names are.
        ra_units = np.rint((column + 0.5) * 360 / self.columns[row] * 1e4).astype(int)
        starts, ends = self._parts_of_names
        names = np.empty((len(row), 8), "U1")
        names[:, :4], names[:, 4:] = starts[ra_units // 1000], ends[row]
        return names.view("U8")[:, 0]

    @functools.cached_property
    def _parts_of_names(self) -> tuple[np.ndarray, np.ndarray]:
        """Characters of names, by tenths of degrees of right ascension and by row: (N, 4) each."""
        dec_units = ((np.arange(len(self.columns)) * self.height_deg - 90) * 10).tolist()
        starts = np.array([f"{tenths:04d}" for tenths in range(3600)])
        ends = np.array([f"{'m' if d < 0 else 'p'}{int(abs(d)):03d}" for d in dec_units])
        return starts.view("U1").reshape(-1, 4), ends.view("U1").reshape(-1, 4)


@functools.cache
def brick_grid(height_deg: float) -> BrickGrid:
    """Return the grid with bricks of a height in degrees; it is made once per process."""
    return BrickGrid(height_deg)


def brick_wcs(ra: float, dec: float, release: Release) -> WCS:
    """Return the world coordinates of a brick's coadds.

    Parameters
    ----------
    ra, dec
        Centre of the brick, degrees.
    release
        Its ``brick_pixels`` and ``pixel_scale_arcsec`` are used.

    Returns
    -------
    astropy.wcs.WCS
        Tangent plane, north up, east left, the reference pixel in the middle.
    """
    pixels, scale_deg = release.brick_pixels, release.pixel_scale_arcsec / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(pixels + 1) / 2] * 2
    wcs.wcs.cd = [[-scale_deg, 0], [0, scale_deg]]
    wcs.array_shape = (pixels, pixels)
    return wcs
