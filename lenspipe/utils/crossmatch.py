"""Matching of positions on the sky, and of objects by their identifiers."""

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord, search_around_sky
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lenspipe.utils.errors import LenspipeError

__all__ = ["Sky", "chord", "friends_of_friends", "match_tables", "unit_vectors"]

#: Rows read at a time: some 10 MB, whatever the length of a table.
_ROWS = 131_072


class Sky:
    """Positions of a catalogue, to find what lies near them.

    Distances are chords between unit vectors: exact to 1e-10 arcsec on the whole sky, at ra 0 and
    at the poles as anywhere.

    Parameters
    ----------
    ra, dec : array_like, shape (M,)
        Degrees.
    radius_arcsec : float
        How far away something may be, this distance included.
    """

    def __init__(self, ra, dec, radius_arcsec):
        self.radius_arcsec = radius_arcsec
        self._vectors = unit_vectors(ra, dec)
        self._tree = cKDTree(self._vectors)
        # A little further, so that rounding loses none; what is too far is sorted out below.
        self._reach = chord(radius_arcsec) * (1 + 1e-6) + 1e-15

    def __len__(self):
        return len(self._vectors)

    def pairs(self, ra, dec):
        """Find all pairs of a position and an entry of the catalogue within the radius.

        Parameters
        ----------
        ra, dec : array_like, shape (N,)
            Degrees; one that is not finite is near nothing.

        Returns
        -------
        rows, entries : numpy.ndarray of int, shape (K,)
            Places of the position and of the entry.
        separation_arcsec : numpy.ndarray of float64, shape (K,)
        """
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        here = unit_vectors(ra[finite], dec[finite])
        # Few positions are near an entry; only these are asked for all their entries.
        distance, _ = self._tree.query(here, distance_upper_bound=self._reach)
        near = np.flatnonzero(np.isfinite(distance))
        found = self._tree.query_ball_point(here[near], self._reach)
        rows = np.repeat(near, [len(entries) for entries in found])
        entries = np.concatenate([np.zeros(0, int), *found]).astype(int)
        apart = np.linalg.norm(here[rows] - self._vectors[entries], axis=1)
        separation = np.degrees(2 * np.arcsin(apart / 2)) * 3600
        within = separation <= self.radius_arcsec
        return finite[rows[within]], entries[within], separation[within]


def match_tables(paths, sky, columns=(), optional=()):
    """Find the rows of Parquet tables that lie near entries of a catalogue.

    Tables are read piece by piece, so that memory does not grow with their length.

    Parameters
    ----------
    paths : iterable of str or path-like
        Tables with columns ra and dec (degrees).
    sky : Sky
        The catalogue.
    columns, optional : iterable of str
        Further columns to return; optional ones are left out where a table lacks them.

    Returns
    -------
    pandas.DataFrame
        A row per pair: entry (int64; place in the catalogue), separation_arcsec (float64), ra, dec
        and the other columns.

    Raises
    ------
    LenspipeError
        A table can't be read or lacks a column.
    """
    parts = [pd.DataFrame({"entry": pd.Series(dtype="int64"), "separation_arcsec": []})]
    for path in paths:
        for batch in _batches(path, ["ra", "dec", *columns], optional):
            rows, entries, separation = sky.pairs(batch.column("ra"), batch.column("dec"))
            if len(rows):
                found = batch.take(pa.array(rows)).to_pandas()
                parts.append(found.assign(entry=entries, separation_arcsec=separation))
    pairs = pd.concat(parts[1:] or parts, ignore_index=True)
    return pairs.reindex(columns=list(dict.fromkeys([*pairs.columns, *columns])))


def _batches(path, needed, optional):
    """Read some columns of a table, a piece at a time."""
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            if absent := [name for name in needed if name not in there]:
                raise LenspipeError(
                    f"{path}: found columns {', '.join(there)}; expected also "
                    f"{', '.join(absent)}; give scores with positions in degrees"
                )
            wanted = [*needed, *(name for name in optional if name in there)]
            # All groups of rows at once would keep what has been read of them to the end.
            for group in range(file.num_row_groups):
                yield from file.iter_batches(_ROWS, row_groups=[group], columns=wanted)
    except (OSError, pa.ArrowException) as error:
        raise LenspipeError(
            f"{path}: can't be read as Parquet ({str(error).splitlines()[0]}); make it again"
        ) from None


def friends_of_friends(ra, dec, radius_arcsec):
    """Group positions that are linked by steps of at most a radius.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Degrees.
    radius_arcsec : float
        Longest link, arcsec.

    Returns
    -------
    numpy.ndarray, int32, shape (N,)
        Number of each position's group, counting from 0.
    """
    n = len(ra)
    if n == 0:
        return np.zeros(0, np.int32)
    positions = SkyCoord(ra, dec, unit="deg")
    first, second, _, _ = search_around_sky(positions, positions, radius_arcsec * u.arcsec)
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return connected_components(links, directed=False)[1]


def unit_vectors(ra, dec):
    """Directions of positions.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Degrees.

    Returns
    -------
    numpy.ndarray, float64, shape (N, 3)
        Points on the unit sphere.
    """
    ra, dec = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord(arcsec):
    """Distance on the unit sphere.

    Parameters
    ----------
    arcsec : float
        Angle.

    Returns
    -------
    float
    """
    return 2 * np.sin(np.radians(arcsec / 3600) / 2)
