"""The merged table of known lenses."""

from pathlib import Path

import pandas as pd

from lenspipe.products.tables import read_table, write_table

__all__ = ["read_known", "write_known", "write_references"]


def read_known(path: Path) -> pd.DataFrame:
    """Read the merged table of known lenses, ``known/lenses.parquet``."""
    return read_table(path, "known")


def write_known(path: Path, systems: pd.DataFrame) -> None:
    """Write the merged table of known lenses as Parquet and, beside it, as CSV."""
    write_table(path.with_suffix(".csv"), systems)
    write_table(path, systems)


def write_references(path: Path, references: pd.DataFrame) -> None:
    """Write how many entries of each reference were taken, ``known/references.csv``."""
    write_table(path, references)
