"""The table of the parent sample, and the audit of its cuts."""

from collections.abc import Iterable

import pandas as pd

from lenspipe.products.schema import AUDIT, PARENT, band_values, dtypes_of, names_of

__all__ = ["empty_parent", "make_audit", "parent_columns"]


def parent_columns(bands: Iterable[str]) -> dict[str, str]:
    """Return the columns of a parent sample, in order: name -> type."""
    return dtypes_of(PARENT, **band_values(bands))


def empty_parent(bands: Iterable[str]) -> pd.DataFrame:
    """Return a parent sample without galaxies."""
    columns = parent_columns(bands)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def make_audit(cuts: Iterable[tuple[str, int, int]]) -> pd.DataFrame:
    """Make the audit of some cuts.

    Parameters
    ----------
    cuts
        Name, number of rows before and number of rows after each cut.
    """
    rows = [(cut, before, after, before - after) for cut, before, after in cuts]
    return pd.DataFrame(rows, columns=names_of(AUDIT))
