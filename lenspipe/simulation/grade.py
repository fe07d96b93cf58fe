"""Grades that a perfect eye would give to galaxies of a simulated sky."""

import numpy as np
import pandas as pd

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["grade_by_truth"]


def grade_by_truth(path, truth_path):
    """Fill in column grade of a list by the truth: A for a lens, D for anything else.

    Grades that are there stay.

    Parameters
    ----------
    path : str or path-like
        CSV with columns id and grade, as mining and cleaning write it.
    truth_path : str or path-like
        ``sky/truth.parquet`` of the run.

    Returns
    -------
    dict
        Grade -> number of galaxies that were given it.

    Raises
    ------
    LenspipeError
        A file can't be read, or a galaxy is not of this sky.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        truth = pd.read_parquet(truth_path, columns=["id", "kind"]).drop_duplicates("id")
    except (OSError, ValueError) as error:
        raise LenspipeError(f"{path}, {truth_path}: can't be read ({error})") from None
    if missing := {"id", "grade"} - set(table.columns):
        raise LenspipeError(
            f"{path}: found columns {', '.join(table.columns)}, expected also "
            f"{', '.join(sorted(missing))}; give a list that mining or cleaning wrote"
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
