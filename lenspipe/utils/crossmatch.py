"""Matching of positions on the sky, and of objects by their identifiers."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord, search_around_sky
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lenspipe.utils.errors import LenspipeError

__all__ = [
    "Sky",
    "chord",
    "friends_of_friends",
    "is_near",
    "match_tables",
    "refuse_missing",
    "unit_vectors",
]

#: Rows of a batch, some 10 MB.
_ROWS = 131_072


def is_near(table: pd.DataFrame, others: pd.DataFrame, radius_arcsec: float) -> np.ndarray:
    """Mask of rows closer than a radius to one of another table (ra, dec in degrees)."""
    if table.empty or others.empty:
        return np.zeros(len(table), bool)
    here, there = (SkyCoord(each["ra"], each["dec"], unit="deg") for each in (table, others))
    return here.match_to_catalog_sky(there)[1].arcsec < radius_arcsec


class Sky:
    """Positions of a catalogue, to be searched for neighbours.

    Distances are chords between unit vectors: exact to 1e-10 arcsec on the whole sky, including
    ra 0 and the poles.

    Parameters
    ----------
    ra, dec
        Degrees, shape (M,).
    radius_arcsec
        Maximum distance, inclusive.
    """

    def __init__(self, ra: ArrayLike, dec: ArrayLike, radius_arcsec: float) -> None:
        self.radius_arcsec = radius_arcsec
        self._vectors = unit_vectors(ra, dec)
        self._tree = cKDTree(self._vectors)
        # Slightly more, so that rounding loses none; pairs too far apart are removed below.
        self._reach = chord(radius_arcsec) * (1 + 1e-6) + 1e-15

    def __len__(self) -> int:
        return len(self._vectors)

    def pairs(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find all pairs of a position and an entry of the catalogue within the radius.

        Parameters
        ----------
        ra, dec
            Degrees, shape (N,); positions that are not finite have no pairs.

        Returns
        -------
        rows, entries : numpy.ndarray of int, shape (K,)
            Indices of the position and of the entry.
        separation_arcsec : numpy.ndarray of float64, shape (K,)
        """
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        vectors = unit_vectors(ra[finite], dec[finite])
        # Few positions are near an entry; only for these are all entries searched.
        distance, _ = self._tree.query(vectors, distance_upper_bound=self._reach)
        near = np.flatnonzero(np.isfinite(distance))
        neighbours = self._tree.query_ball_point(vectors[near], self._reach)
        rows = np.repeat(near, [len(entries) for entries in neighbours])
        entries = np.concatenate([np.zeros(0, int), *neighbours]).astype(int)
        chords = np.linalg.norm(vectors[rows] - self._vectors[entries], axis=1)
        separation = np.degrees(2 * np.arcsin(chords / 2)) * 3600
        within = separation <= self.radius_arcsec
        return finite[rows[within]], entries[within], separation[within]


def match_tables(
    tables: Iterable[str | os.PathLike[str] | pd.DataFrame],
    sky: Sky,
    columns: Iterable[str] = (),
    optional: Iterable[str] = (),
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Find the rows of Parquet tables that lie near entries of a catalogue.

    Tables are read in batches, so that memory does not grow with their length.

    Parameters
    ----------
    tables
        Parquet files, or tables in memory, with columns ra and dec (degrees).
    sky
        The catalogue.
    columns, optional
        Further columns to return; optional ones are left out where a table lacks them.
    names
        Column -> its name in the tables, where that is another.

    Returns
    -------
    pandas.DataFrame
        A row per pair: entry (int64; index in the catalogue), separation_arcsec (float64), ra, dec
        and the other columns.

    Raises
    ------
    LenspipeError
        A table can't be read or lacks a column.
    """
    parts = [pd.DataFrame({"entry": pd.Series(dtype="int64"), "separation_arcsec": []})]
    for table in tables:
        for batch in _batches(table, ["ra", "dec", *columns], optional, names or {}):
            rows, entries, separation = sky.pairs(batch.column("ra"), batch.column("dec"))
            if len(rows):
                matched = batch.take(pa.array(rows)).to_pandas()
                parts.append(matched.assign(entry=entries, separation_arcsec=separation))
    pairs = pd.concat(parts[1:] or parts, ignore_index=True)
    return pairs.reindex(columns=list(dict.fromkeys([*pairs.columns, *columns])))


def refuse_missing(
    path: str | os.PathLike[str],
    given: Iterable[str],
    needed: Sequence[str],
    names: Mapping[str, str],
) -> None:
    """Refuse a table that lacks columns, in a line that has all that are needed.

    Parameters
    ----------
    given
        The columns that the table has.
    needed
        Those that it has to have, by our names.
    names
        Column -> its name in the table, where that is another.

    Raises
    ------
    LenspipeError
        A column is missing.
    """
    given = list(given)
    absent = [name for name in needed if names.get(name, name) not in given]
    if not absent:
        return
    of = {"ra": "ra (degrees)", "dec": "dec (degrees)"}
    wanted = ", ".join(f"{of.get(name, name)}" for name in needed)
    hint = ",".join(f"{name}=COLUMN" for name in absent)
    raise LenspipeError(
        f"{path}: found columns {', '.join(given)}; expected {wanted}, and no "
        f"{', '.join(names.get(name, name) for name in absent)}; rename columns, or say which they "
        f"are with --columns {hint}"
    )


def _batches(
    path: str | os.PathLike[str] | pd.DataFrame,
    needed: list[str],
    optional: Iterable[str],
    names: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a table in batches."""
    if isinstance(path, pd.DataFrame):
        columns = [*needed, *(name for name in optional if name in path)]
        yield pa.RecordBatch.from_pandas(path[columns], preserve_index=False)
        return
    try:
        with pq.ParquetFile(path) as file:
            given = file.schema_arrow.names
            refuse_missing(path, given, needed, names)
            # An optional column that is named has to be there.
            more = [name for name in optional if name in names or name in given]
            refuse_missing(path, given, more, names)
            ours = {names.get(name, name): name for name in (*needed, *more)}
            # One row group at a time: iterating over all would keep each in memory to the end.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[*ours]):
                    yield batch.rename_columns([ours[name] for name in batch.schema.names])
    except (OSError, pa.ArrowException) as error:
        raise LenspipeError(
            f"{path}: can't be read as Parquet ({str(error).splitlines()[0]}); make it again"
        ) from None


def friends_of_friends(ra: ArrayLike, dec: ArrayLike, radius_arcsec: float) -> np.ndarray:
    """Group positions that are linked by steps of at most a radius.

    Parameters
    ----------
    ra, dec
        Degrees, shape (N,).
    radius_arcsec
        Maximum length of a link.

    Returns
    -------
    numpy.ndarray, int32, shape (N,)
        Number of each position's group, counting from 0.

    Examples
    --------
    >>> friends_of_friends([10.0, 10.0005, 20.0], [0.0, 0.0, 0.0], 2.0).tolist()
    [0, 0, 1]
    """
    n = len(np.asarray(ra))
    if n == 0:
        return np.zeros(0, np.int32)
    positions = SkyCoord(ra, dec, unit="deg")
    first, second, _, _ = search_around_sky(positions, positions, radius_arcsec * u.arcsec)
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return connected_components(links, directed=False)[1]


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Return the directions of positions.

    Parameters
    ----------
    ra, dec
        Degrees, shape (N,).

    Returns
    -------
    numpy.ndarray, float64, shape (N, 3)
        Points on the unit sphere.
    """
    ra, dec = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord(arcsec: float) -> float:
    """Return the length of the chord of an angle on the unit sphere."""
    return 2 * np.sin(np.radians(arcsec / 3600) / 2)
