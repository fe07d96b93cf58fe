"""Grades from the truth of a simulated sky, in place of visual inspection."""

import os

import numpy as np
import pandas as pd

from lenspipe.products.tables import read_table
from lenspipe.products.truth import lenses_shown
from lenspipe.utils.delimited import NO_NUMBER
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.user_tables import read_user_table

__all__ = ["grade_by_truth"]


def grade_by_truth(
    path: str | os.PathLike[str], truth_path: str | os.PathLike[str]
) -> dict[str, int]:
    """Fill in empty grades of a list from the truth: A for a lens, D for anything else.

    A source near the images of a visible lens is graded as that lens.

    Return how many galaxies received each grade. The list has columns id and grade, as written by
    mining and cleaning, and is written again as CSV; the truth is ``sky/truth.parquet`` of the run.

    Raises
    ------
    LenspipeError
        A file cannot be read, or a galaxy is not on this sky.
    """
    given = read_user_table(path, "a list written by mining or cleaning: columns id and grade")
    given.refuse_broken()
    place, grade = given.find("id"), given.find("grade")
    if place is None or grade is None:
        raise LenspipeError(
            f"{path}: found columns {', '.join(given.names)}, expected id and grade; give a list "
            "written by mining or cleaning"
        )
    table = pd.DataFrame({i: given.text(i) for i in range(len(given.names))})
    truth = read_table(truth_path, "truth", columns=["id", "kind"]).drop_duplicates("id")
    kind = table[place].map(truth.set_index("id")["kind"])
    if kind.isna().any():
        raise LenspipeError(
            f"{path}: found {table[place][kind.isna()].iloc[0]}, which {truth_path} does not list; "
            "give the truth of the same sky"
        )
    empty = table[grade].str.lower().isin(NO_NUMBER)
    is_lens = (kind == "lens") | table[place].isin(lenses_shown(truth_path))
    filled = pd.Series(np.where(is_lens, "A", "D"), table.index)[empty]
    table.loc[empty, grade] = filled
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, header=given.names)
    return filled.value_counts().to_dict()
