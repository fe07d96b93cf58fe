"""Scores of galaxies that the model was not trained on."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lenspipe.products.tables import read_table

__all__ = ["group_rows", "random_nonlenses", "read_held_out"]


def read_held_out(path: Path) -> tuple[pd.DataFrame | None, str]:
    """Read the held-out galaxies that a threshold is judged by: the test split, else validation.

    Parameters
    ----------
    path
        ``predictions.parquet`` of the model.

    Returns
    -------
    table
        Columns label, class, type, region, p; None if there is no file.
    source
        Description of what was read, for messages.
    """
    if not path.exists():
        return None, str(path)
    columns = ["split", "label", "class", "type", "region", "p"]
    table = read_table(path, "predictions", columns=columns)
    split = "test" if (table["split"] == "test").any() else "validation"
    return table[table["split"] == split], f"{path} ({split} split)"


def random_nonlenses(
    table: pd.DataFrame, per: Sequence[str] = (), key: Sequence[str] = ()
) -> pd.DataFrame:
    """Select non-lenses drawn at random, without those chosen because they resemble lenses.

    Parameters
    ----------
    table
        As returned by `read_held_out`.
    per, key
        Columns, and their values in the group to which the selection is restricted.
    """
    return group_rows(table[table["class"] == "random"], per, key)


def group_rows(table: pd.DataFrame, per: Sequence[str], key: Sequence[str]) -> pd.DataFrame:
    """Select the rows of one group: those whose columns `per` have the values `key`."""
    for column, value in zip(per, key, strict=True):
        table = table[table[column] == value]
    return table
