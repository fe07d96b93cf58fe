"""Tables of a run, as Parquet or CSV."""

import os
from collections.abc import Sequence

import pandas as pd

from lenspipe.products.files import require, unreadable
from lenspipe.utils.tables import write_table

__all__ = ["read_table", "write_table"]


def read_table(
    path: str | os.PathLike[str],
    key: str,
    columns: Sequence[str] | None = None,
    filters: list[tuple] | None = None,
) -> pd.DataFrame:
    """Read a table of a run.

    Parameters
    ----------
    path
        Parquet or CSV, by the suffix.
    key
        Of the product, in `lenspipe.products.schema.registry.PRODUCTS`.
    columns
        Columns to read; all if not given.
    filters
        Of a Parquet file: conditions of the rows to read, as of `pandas.read_parquet`.

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
