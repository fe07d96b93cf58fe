"""Targets: a list of positions to search instead of the galaxies of a footprint.

Later steps treat targets like galaxies of the parent sample. No catalogue is read: columns that
would come from one are NaN.
"""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.catalogs.lists import read_list
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError

__all__ = ["read_targets", "targets_without_data"]


def read_targets(path: str | Path, brick_deg: float) -> pd.DataFrame:
    """Read a list of targets, config key ``targets``.

    Parameters
    ----------
    path
    brick_deg
        Height of a brick, degrees.

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
    path = Path(path)
    stat = path.stat() if path.exists() else None
    return _read(path, (stat.st_size, stat.st_mtime_ns) if stat else None, brick_deg).copy()


@functools.lru_cache(1)
def _read(path: Path, stamp: tuple[int, int] | None, brick_deg: float) -> pd.DataFrame:
    """Read a list; cached by its size and time, since the mosaic of each brick needs its names."""
    table = read_list(path, key="targets", strict=True)
    if table.empty:
        raise LenspipeError(
            f"{path}: found no rows, expected positions; correct config key targets"
        )
    not_ascii = [name for name in table["name"] if not (name.isascii() and name.isprintable())]
    if not_ascii:
        raise LenspipeError(
            f"{path}: found the name {not_ascii[0]!r}, expected letters, digits and other "
            "printable ASCII characters; rename it"
        )
    table["number"] = np.arange(1, len(table) + 1)
    numbered = [f"target-{number:06d}" for number in table["number"]]
    table["id"] = table["name"].where(table["name"] != "", numbered)
    if repeated := sorted(set(table.loc[table["id"].duplicated(), "id"])):
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        raise LenspipeError(
            f"{path}: found more than one row named {', '.join(repeated[:5])}{more}, expected a "
            "different name for each position; rename or delete them"
        )
    table["brick"], table["brickid"] = brick_grid(brick_deg).bricks_at(table["ra"], table["dec"])
    return table[["id", "name", "number", "ra", "dec", "brick", "brickid"]]


def targets_without_data(path: str | Path, bricks: Iterable[str], brick_deg: float) -> pd.DataFrame:
    """Return the rows of `read_targets` whose brick is not among the bricks with data."""
    table = read_targets(path, brick_deg)
    return table[~table["brick"].isin(set(bricks))]
