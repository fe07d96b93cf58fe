"""The merged table of known lenses."""

from pathlib import Path

import pandas as pd

from lenspipe.products.tables import read_table, write_table

__all__ = ["read_known", "write_known"]


def read_known(path: Path) -> pd.DataFrame:
    """Read the merged table of known lenses, ``known/lenses.parquet``."""
    return read_table(path, "known")


def write_known(path: Path, systems: pd.DataFrame) -> None:
    """Write the merged table of known lenses as Parquet and, beside it, as CSV."""
    write_table(path.with_suffix(".csv"), systems)
    write_table(path, systems)
