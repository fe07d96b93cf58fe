"""Tables of a run, as Parquet or CSV; the bricks searched, and the columns of the parent sample."""

import os
from collections.abc import Iterable, Sequence

import pandas as pd

from lenspipe.products import schema
from lenspipe.products.files import require, unreadable
from lenspipe.utils.tables import write_table

__all__ = [
    "add_audits",
    "brick_table",
    "chunks_of",
    "empty_parent",
    "make_audit",
    "parent_columns",
    "read_table",
    "write_table",
]


def read_table(
    path: str | os.PathLike[str],
    key: str,
    columns: Sequence[str] | None = None,
    filters: list[tuple] | None = None,
) -> pd.DataFrame:
    """Read a table of a run, as Parquet or CSV by the suffix.

    Parameters
    ----------
    key
        Of the product, as in `lenspipe.products.files.require`.
    columns
        Columns to read; all if not given.
    filters
        Of a Parquet file: conditions of the rows to read, as in `pandas.read_parquet`.

    Raises
    ------
    LenspipeError
        There is no such file, or it is damaged or lacks a column.
    """
    path = require(path, key)
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, usecols=columns)
        return pd.read_parquet(path, columns=columns, filters=filters)
    except (OSError, ValueError) as error:
        raise unreadable(path, key, error) from None


def brick_table(path: str | os.PathLike[str], bricks: Iterable[str]) -> pd.DataFrame:
    """Look up the positions of bricks in the run's table of bricks.

    Returns
    -------
    pandas.DataFrame
        A row for each, in their order: index brick; brickid (int32), ra, dec (degrees).
    """
    table = read_table(path, "bricks", columns=["brick", "brickid", "ra", "dec"])
    return table.set_index("brick").loc[list(bricks)]


def chunks_of(path: str | os.PathLike[str]) -> list[str]:
    """List the run's chunks in order, from its table of bricks."""
    return sorted(read_table(path, "bricks", columns=["chunk"])["chunk"].unique())


def parent_columns(bands: Iterable[str]) -> dict[str, str]:
    """Return the columns of a parent sample, in order: name -> type."""
    return schema.dtypes_of(schema.PARENT, **schema.band_values(bands))


def empty_parent(bands: Iterable[str]) -> pd.DataFrame:
    """Return a parent sample without galaxies."""
    columns = parent_columns(bands)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def make_audit(cuts: Iterable[tuple[str, int, int]]) -> pd.DataFrame:
    """Make the audit of some cuts: name, number of rows before and number of rows after each."""
    rows = [(cut, before, after, before - after, "") for cut, before, after in cuts]
    return pd.DataFrame(rows, columns=schema.names_of(schema.AUDIT))


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
