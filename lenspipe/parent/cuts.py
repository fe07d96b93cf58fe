"""The cuts that define the parent sample."""

from collections.abc import Callable

import pandas as pd

from lenspipe.config.data import Parent
from lenspipe.config.surveys.base import Release
from lenspipe.products.tables import make_audit
from lenspipe.utils.errors import LenspipeError

__all__ = ["CUTS", "Selection", "no_cuts", "select_parent"]


def _has_exposures(table: pd.DataFrame, parent: Parent, release: Release) -> pd.Series:
    nobs = table[[name for name in table.columns if name.startswith("nobs_")]]
    return (nobs >= parent.min_exposures).all(axis=1)


def _is_unmasked(table: pd.DataFrame, parent: Parent, release: Release) -> pd.Series:
    return (table.maskbits & release.mask(parent.maskbits)) == 0


#: Brick -> (selected, audit), as returned by `select_parent` and sorted by objid; and brick ->
#: error for bricks whose catalogue could not be read or obtained.
Selection = tuple[dict[str, tuple[pd.DataFrame, pd.DataFrame]], dict[str, LenspipeError]]

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
}


def select_parent(
    table: pd.DataFrame, parent: Parent, release: Release
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply the cuts of the parent sample, one after the other.

    Parameters
    ----------
    table
        As returned by `lenspipe.survey.tractor.tractor_table`.

    Returns
    -------
    selected
        The rows that pass, without ``brick_primary``.
    audit
        One row per cut in order: cut (str), before, after, removed (int64).
    """
    rows = []
    for cut, passes in CUTS.items():
        before = len(table)
        table = table[passes(table, parent, release)]
        rows.append((cut, before, len(table)))
    return table.drop(columns="brick_primary"), make_audit(rows)


def no_cuts() -> pd.DataFrame:
    """Return the audit of an empty catalogue, in the form of `select_parent`, to add others to."""
    return make_audit([(cut, 0, 0) for cut in CUTS])
