"""The table of the parent sample."""

from collections.abc import Iterable

import pandas as pd

from lenspipe.products.schema.declarations import dtypes_of
from lenspipe.products.schema.registry import band_values
from lenspipe.products.schema.search import PARENT

__all__ = ["empty_parent", "parent_columns"]


def parent_columns(bands: Iterable[str]) -> dict[str, str]:
    """Return the columns of a parent sample, in order: name -> type."""
    return dtypes_of(PARENT, **band_values(bands))


def empty_parent(bands: Iterable[str]) -> pd.DataFrame:
    """Return a parent sample without galaxies."""
    columns = parent_columns(bands)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
