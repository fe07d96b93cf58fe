"""The table of the bricks searched, and the chunks that they form."""

import os
from collections.abc import Iterable

import pandas as pd

from lenspipe.products.tables import read_table

__all__ = ["brick_table", "chunks_of"]


def brick_table(path: str | os.PathLike[str], bricks: Iterable[str]) -> pd.DataFrame:
    """Look up the positions of bricks.

    Parameters
    ----------
    path
        The run's table of bricks.

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
