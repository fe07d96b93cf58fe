"""Targets: a list of positions that a run looks at instead of the galaxies of a footprint.

What follows treats a target as it treats a galaxy. Its row of the parent sample says where it is;
what only a catalogue knows is NaN, and no catalogue is read.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.bricks import BRICK_DEG, bricks_of_chunk, find_brick
from lenspipe.catalog import content_hash, parent_columns
from lenspipe.errors import LenspipeError
from lenspipe.manifest import write_manifest
from lenspipe.match import read_list
from lenspipe.paths import atomic
from lenspipe.progress import log

__all__ = [
    "brick_widths",
    "brickids_at",
    "bricks_at",
    "parent_of_targets",
    "read_targets",
    "report_absent",
    "targets_of_brick",
    "targets_without_data",
    "with_targets",
]


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


def read_targets(settings):
    """Read the list of config key ``targets``.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    pandas.DataFrame
        In the order of the list: id (str; the name, or ``target-`` and the row's number), name
        (str; empty where not given), number (int; of the row, from 1), ra (0 to 360), dec
        (float64, degrees), brick (str) and brickid (int32).

    Raises
    ------
    LenspipeError
        As in `lenspipe.match.read_list`; no positions; names that are not unique or not ASCII.
    """
    path = Path(settings.targets)
    stat = path.stat() if path.exists() else None
    return _read(path, stat and (stat.st_size, stat.st_mtime_ns)).copy()


@functools.lru_cache(1)
def _read(path, stamp):
    """Read a list; kept while its stamp is the same, since every brick's mosaic asks for names."""
    table = read_list(path, key="targets", strict=True)
    if table.empty:
        raise LenspipeError(
            f"{path}: found no rows, expected positions; correct config key targets"
        )
    strange = [name for name in table["name"] if not (name.isascii() and name.isprintable())]
    if strange:
        raise LenspipeError(
            f"{path}: found the name {strange[0]!r}, expected letters, digits and signs of ASCII; "
            "rename it"
        )
    table["number"] = np.arange(1, len(table) + 1)
    numbered = [f"target-{number:06d}" for number in table["number"]]
    table["id"] = table["name"].where(table["name"] != "", numbered)
    if len(twice := sorted(set(table.loc[table["id"].duplicated(), "id"]))):
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        raise LenspipeError(
            f"{path}: found more than one row named {', '.join(twice[:5])}{more}, expected a name "
            "for each position; rename or delete them"
        )
    table["brick"], table["brickid"] = bricks_at(table["ra"], table["dec"])
    return table[["id", "name", "number", "ra", "dec", "brick", "brickid"]]


def targets_without_data(settings, bricks):
    """Return the targets whose brick the survey has no data for.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    bricks : iterable of str
        Bricks with data, at least those of the targets.

    Returns
    -------
    pandas.DataFrame
        Rows of `read_targets`.
    """
    table = read_targets(settings)
    return table[~table["brick"].isin(set(bricks))]


def with_targets(settings, table):
    """Keep the bricks that hold a target.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    table : pandas.DataFrame
        Of bricks with data, with the column brick.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    LenspipeError
        No brick is left; as in `read_targets`.
    """
    targets = read_targets(settings)
    table = table[table["brick"].isin(set(targets["brick"]))]
    if table.empty:
        raise LenspipeError(
            f"{settings.targets}: none of its {len(targets)} positions is in a brick of "
            f"{settings.release.name} with data; check config keys targets, survey.release and "
            "survey.tree"
        )
    return table


def report_absent(settings, table):
    """Name in the log each target that the survey has no data for.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    table : pandas.DataFrame
        Of bricks with data, with the column brick.
    """
    absent = targets_without_data(settings, table["brick"])
    for row in absent.itertuples():
        log.info(
            "target %s (ra %.5f, dec %+.5f): no data of %s in its brick, %s",
            *(row.id, row.ra, row.dec, settings.release.name, row.brick),
        )
    if len(absent):
        log.info("targets: %d without data", len(absent))


def targets_of_brick(settings, brick):
    """Return the targets in a brick as its parent sample.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick : str

    Returns
    -------
    selected : pandas.DataFrame
        `lenspipe.catalog.parent_columns`; sorted by objid, which is the row's number in the list.
    audit : pandas.DataFrame
        One row: cut ('targets'), before, after, removed (0).

    Raises
    ------
    LenspipeError
        As in `read_targets`; the brick is not in this run.
    """
    chunk, _ = find_brick(settings, brick)
    table = _parent(settings, chunk)
    table = table[table["brick"] == brick].reset_index(drop=True)
    return table, _audit(len(table))


def parent_of_targets(settings, chunk):
    """Write the targets of a chunk as `lenspipe.catalog.parent_of_chunk` writes its galaxies.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        As in `read_targets`; no such chunk in this run.
    """
    table = _parent(settings, chunk)
    entries = {
        brick: {"status": "done", "count": len(rows), "hash": content_hash(rows)}
        for brick, rows in table.groupby("brick")
    }
    # By brick and number, as a footprint's parent sample is by brick and objid.
    table = table.sort_values(["brick", "objid"], ignore_index=True)
    with atomic(settings.paths.parent(chunk)) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(settings.paths.parent_audit(chunk)) as temporary:
        _audit(len(table)).to_csv(temporary, index=False)
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d targets in %d bricks", chunk, len(table), len(entries))


def _parent(settings, chunk):
    """Rows of the parent sample of a chunk, in the order of the list."""
    regions = dict(bricks_of_chunk(settings, chunk))
    targets = read_targets(settings)
    targets = targets[targets["brick"].isin(regions)].reset_index(drop=True)
    columns = parent_columns(settings.survey.bands)
    blank = {str: "", "float32": np.nan}
    data = {name: blank.get(kind, 0) for name, kind in columns.items()}
    data |= {name: targets[name] for name in ("id", "brickid", "ra", "dec", "brick")}
    data |= {"objid": targets["number"], "region": targets["brick"].map(regions)}
    return pd.DataFrame(data, index=targets.index).astype(columns)


def _audit(number):
    return pd.DataFrame({"cut": ["targets"], "before": number, "after": number, "removed": 0})
