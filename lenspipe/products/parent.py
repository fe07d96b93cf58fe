"""The table of the parent sample, and the audit of its cuts."""

from collections.abc import Iterable

import pandas as pd

from lenspipe.products.schema.declarations import dtypes_of, names_of
from lenspipe.products.schema.registry import band_values
from lenspipe.products.schema.search import AUDIT, PARENT

__all__ = ["add_audits", "empty_parent", "make_audit", "parent_columns"]


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
    rows = [(cut, before, after, before - after, "") for cut, before, after in cuts]
    return pd.DataFrame(rows, columns=names_of(AUDIT))


def add_audits(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Add up two audits of the same cuts."""
    counts = ["before", "after", "removed"]
    total = one.assign(**{name: one[name] + other[name] for name in counts})
    notes = zip(one["not_counted"], other["not_counted"], strict=True)
    total["not_counted"] = [
        "; ".join(dict.fromkeys(note for text in pair for note in text.split("; ") if note))
        for pair in notes
    ]
    return total
