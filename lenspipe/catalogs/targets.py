"""Targets: a list of positions that a run looks at instead of the galaxies of a footprint.

What follows treats a target as it treats a galaxy. Its row of the parent sample says where it is;
what only a catalogue knows is NaN, and no catalogue is read.
"""

import functools
from pathlib import Path

import numpy as np

from lenspipe.catalogs.lists import read_list
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError

__all__ = ["read_targets", "targets_without_data"]


def read_targets(settings):
    """Read the list of config key ``targets``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        In the order of the list: id (str; the name, or ``target-`` and the row's number), name
        (str; empty where not given), number (int; of the row, from 1), ra (0 to 360), dec
        (float64, degrees), brick (str) and brickid (int32).

    Raises
    ------
    LenspipeError
        As in `lenspipe.catalogs.lists.read_list`; no positions; names that are not unique or not
        ASCII.
    """
    path = Path(settings.targets)
    stat = path.stat() if path.exists() else None
    return _read(path, stat and (stat.st_size, stat.st_mtime_ns), settings.release.brick_deg).copy()


@functools.lru_cache(1)
def _read(path, stamp, brick_deg):
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
    table["brick"], table["brickid"] = brick_grid(brick_deg).bricks_at(table["ra"], table["dec"])
    return table[["id", "name", "number", "ra", "dec", "brick", "brickid"]]


def targets_without_data(settings, bricks):
    """Return the targets whose brick the survey has no data for.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    bricks : iterable of str
        Bricks with data, at least those of the targets.

    Returns
    -------
    pandas.DataFrame
        Rows of `read_targets`.
    """
    table = read_targets(settings)
    return table[~table["brick"].isin(set(bricks))]
