"""Columns of the candidates: order, units, descriptions and UCDs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from astropy.table import Table

from lenspipe.products.described import describe
from lenspipe.products.schema import CANDIDATES, Column, expand

__all__ = ["order_columns", "table_with_units"]


def _columns_of(names: Iterable[str], bands: Sequence[str]) -> list[Column]:
    """Columns of the schema that are among the names, in the order of the schema."""
    names = list(names)
    models = [name.removeprefix("p_") for name in names if name.startswith("p_")]
    models = [name for name in models if name != "calibrated"]
    columns = expand(CANDIDATES, {"band": bands, "model": models})
    return [column for column in columns if column.name in names]


def order_columns(table: pd.DataFrame, bands: Sequence[str]) -> pd.DataFrame:
    """Select and order the columns that are written.

    The table is that of `lenspipe.candidates.systems.make_systems`, with names and, if there are,
    redshifts and viewer.
    """
    return table[[column.name for column in _columns_of(table, bands)]]


def table_with_units(table: pd.DataFrame, meta: Mapping[str, Any]) -> Table:
    """Make a table with units and descriptions; UCDs are in the ``meta`` of the columns.

    The columns are those of the candidates; `meta` is that of the whole table.
    """
    bands = [name.removeprefix("mag_") for name in table if name.startswith("mag_")]
    return describe(table, _columns_of(table, bands), meta)
