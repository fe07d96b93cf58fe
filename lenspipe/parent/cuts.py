"""The cuts that define the parent sample."""

import os
from collections.abc import Callable

import pandas as pd

from lenspipe.config.data import Parent
from lenspipe.config.surveys.base import Release
from lenspipe.products.tables import make_audit
from lenspipe.utils.errors import LenspipeError

__all__ = ["CUTS", "Results", "Selection", "check_sources", "no_cuts", "select_parent"]


def _has_exposures(table: pd.DataFrame, parent: Parent, release: Release) -> pd.Series:
    nobs = table[[name for name in table.columns if name.startswith("nobs_")]]
    return (nobs >= parent.min_exposures).all(axis=1)


def _is_unmasked(table: pd.DataFrame, parent: Parent, release: Release) -> pd.Series:
    return (table.maskbits & release.mask(parent.maskbits)) == 0


#: Brick -> (selected, audit), as returned by `select_parent` and sorted by objid.
Results = dict[str, tuple[pd.DataFrame, pd.DataFrame]]

#: Results, and brick -> error for bricks whose catalogue could not be read or obtained.
Selection = tuple[Results, dict[str, LenspipeError]]

#: The cuts in order: name -> function of a table (as returned by `tractor_table`), the section
#: ``parent`` and the survey's release -> whether each row passes.
CUTS: dict[str, Callable[[pd.DataFrame, Parent, Release], pd.Series]] = {
    "brick_primary": lambda table, parent, release: table.brick_primary,
    "type": lambda table, parent, release: table.type.isin(parent.types),
    "sersic_min": lambda table, parent, release: (
        ~(table.type == "SER") | (table.sersic >= parent.sersic_min)
    ),
    "mag_z_max": lambda table, parent, release: table.mag_z <= parent.mag_z_max,
    "min_exposures": _has_exposures,
    "maskbits": _is_unmasked,
    "valid": lambda table, parent, release: table.valid,
}


def select_parent(
    table: pd.DataFrame, parent: Parent, release: Release
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply the cuts of the parent sample, one after the other.

    The table is that of `lenspipe.survey.tractor.tractor_table`. Return the rows that pass, without
    ``brick_primary`` and ``valid``, and the audit, one row per cut in order: cut (str), before,
    after, removed (int64).
    """
    rows = []
    for cut, passes in CUTS.items():
        before = len(table)
        table = table[passes(table, parent, release)]
        rows.append((cut, before, len(table)))
    return table.drop(columns=["brick_primary", "valid"]), make_audit(rows)


def check_sources(table: pd.DataFrame, brick: str, where: str | os.PathLike[str]) -> None:
    """Make sure that the sources of a brick can be told apart, and are those of the brick.

    Parameters
    ----------
    table
        Columns ``brick``, ``brickid`` and ``objid``.
    where
        File or service from which it was read, for errors.

    Raises
    ------
    LenspipeError
        Sources have the same objid, or are of another brick.
    """
    others = table.loc[table["brick"] != brick, "brick"]
    if len(others):
        raise LenspipeError(
            f"{where}: found brickname {others.iloc[0]!r}, expected {brick}; download it again"
        )
    if len(numbers := table["brickid"].unique()) > 1:
        raise LenspipeError(
            f"{where}: found brickids {', '.join(map(str, numbers[:3]))}, expected one of brick "
            f"{brick}; download it again"
        )
    equal = table.loc[table["objid"].duplicated(), "objid"]
    if len(equal):
        raise LenspipeError(
            f"{where}: found objid {equal.iloc[0]} of brick {brick} more than once, expected each "
            "once; download it again"
        )


def no_cuts() -> pd.DataFrame:
    """Return the audit of an empty catalogue, in the form of `select_parent`, to add others to."""
    return make_audit([(cut, 0, 0) for cut in CUTS])
