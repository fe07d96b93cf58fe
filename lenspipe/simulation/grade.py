"""Grades from the truth of a simulated sky, in place of visual inspection."""

import os

import numpy as np
import pandas as pd

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["grade_by_truth"]


def grade_by_truth(
    path: str | os.PathLike[str], truth_path: str | os.PathLike[str]
) -> dict[str, int]:
    """Fill in empty grades of a list from the truth: A for a lens, D for anything else.

    Return how many galaxies received each grade. The list is a CSV with columns id and grade, as
    written by mining and cleaning; the truth is ``sky/truth.parquet`` of the run.

    Raises
    ------
    LenspipeError
        A file cannot be read, or a galaxy is not on this sky.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        truth = pd.read_parquet(truth_path, columns=["id", "kind"]).drop_duplicates("id")
    except (OSError, ValueError) as error:
        raise LenspipeError(f"{path}, {truth_path}: cannot be read ({error})") from None
    if missing := {"id", "grade"} - set(table.columns):
        raise LenspipeError(
            f"{path}: found columns {', '.join(table.columns)}, expected also "
            f"{', '.join(sorted(missing))}; give a list written by mining or cleaning"
        )
    kind = table["id"].map(truth.set_index("id")["kind"])
    if kind.isna().any():
        raise LenspipeError(
            f"{path}: found {table['id'][kind.isna()].iloc[0]}, which {truth_path} does not list; "
            "give the truth of the same sky"
        )
    empty = table["grade"].str.strip() == ""
    given = pd.Series(np.where(kind == "lens", "A", "D"), table.index)[empty]
    table.loc[empty, "grade"] = given
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
    return given.value_counts().to_dict()
