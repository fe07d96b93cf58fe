"""Grades of galaxies in tables that people write or edit."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.utils.delimited import NO_NUMBER
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable, read_user_table

__all__ = ["GRADES", "add_grades", "grades_of", "read_grades"]

#: From a certain lens to a non-lens.
GRADES = ("A", "B", "C", "D")

_NAMES = {
    "grade": ("grade", "grading"),
    "mean_grade": ("mean_grade", "mean"),
    **{name: (name,) for name in ("ra", "dec", "p")},
}


def read_grades(
    path: str | os.PathLike[str], any_word: bool = False, needed: Sequence[str] = ()
) -> pd.DataFrame:
    """Read grades, as written by `lenspipe inspect --export` or by a person.

    A galaxy counts once, by its id, or its name in a table without ids: rows that repeat its grade
    and rows without a grade beside one with a grade are left out. Two different grades of one
    galaxy are an error, since nobody but their author knows which of them counts.

    Parameters
    ----------
    path
        Any table that `lenspipe.utils.user_tables.read_user_table` reads, with a column grade.
    any_word
        Whether other words than A to D are grades.
    needed
        Further columns that the table has to have.

    Returns
    -------
    pandas.DataFrame
        id and name (str; empty where not given), grade (A to D in upper case, or empty),
        mean_grade, ra, dec (degrees) and p (float64; NaN where not given); row (int64; in the file,
        from 0).

    Raises
    ------
    LenspipeError
        The table is unreadable, has no column grade, a grade that is none, or two grades of one
        galaxy.
    """
    table = read_user_table(path, "grades: columns id or name, and grade")
    return grades_of(table, any_word, needed)


def grades_of(table: UserTable, any_word: bool = False, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Take the grades from a table; parameters and errors are those of `read_grades`."""
    table.refuse_broken()
    columns = {name: table.find(*others) for name, others in _NAMES.items()}
    missing = [name for name in ("grade", *needed) if columns[name] is None]
    if missing:
        raise LenspipeError(
            f"{table.path}: found columns {', '.join(table.names)}, expected id or name, and "
            f"{', '.join(('grade', *needed))}; name the missing {' and '.join(missing)}"
        )
    result = pd.DataFrame({name: table.text(table.find(name)) for name in ("id", "name")})
    result["grade"] = _clean(table, table.text(columns["grade"]), any_word)
    for name in ("mean_grade", "ra", "dec", "p"):
        number = columns[name]
        result[name] = np.nan if number is None else table.numbers(number)
    result["row"] = np.arange(len(result))
    return _once(table, result)


def add_grades(candidates: pd.DataFrame, grades: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Add the grades of candidates, found by id or else by name.

    Grades of other galaxies are reported in the log.

    Parameters
    ----------
    candidates
        Columns id and name.
    grades
        As returned by `read_grades`.
    path
        Where they are from, for the log.

    Returns
    -------
    pandas.DataFrame
        With grade (empty: none) and mean_grade (NaN: none).
    """
    places = pd.Series(-1, candidates.index)
    for key in ("name", "id"):
        rows = pd.Series(grades.index, grades[key])[grades[key].to_numpy() != ""]
        found = candidates[key].map(rows[~rows.index.duplicated()])
        places = found.fillna(places).astype(int)
    other = grades[~grades.index.isin(places) & (grades["grade"] != "")]
    if len(other):
        labels = other["id"].where(other["id"] != "", other["name"])
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        log.info(
            "%s: %d grades left out, of no candidate: %s%s",
            path, len(other), ", ".join(labels[:5]), more,
        )  # fmt: skip
    grade = np.append(grades["grade"].to_numpy(object), "")[places]
    mean = np.append(grades["mean_grade"].to_numpy(float), np.nan)[places]
    return candidates.assign(grade=grade, mean_grade=mean)


def _clean(table: UserTable, words: pd.Series, any_word: bool) -> pd.Series:
    upper = words.str.upper()
    words = words.where(~upper.isin(GRADES), upper).where(~words.str.lower().isin(NO_NUMBER), "")
    wrong = ~words.isin([*GRADES, ""])
    if wrong.any() and not any_word:
        row = int(np.flatnonzero(wrong)[0])
        raise LenspipeError(
            f"{table.path}: {table.where([row])}: found grade {words[row]!r}, expected "
            f"{', '.join(GRADES)} or nothing; correct it"
        )
    return words


def _once(table: UserTable, grades: pd.DataFrame) -> pd.DataFrame:
    """Select one row of each galaxy; rows without id and name are galaxies of their own."""
    key = grades["id"] if (grades["id"] != "").any() else grades["name"]
    grades = grades.assign(key=key)
    graded = grades[(key != "") & (grades["grade"] != "")]
    first = graded.drop_duplicates("key").set_index("key")
    other = (graded["grade"] != first["grade"].reindex(graded["key"]).to_numpy()).to_numpy(bool)
    if other.any():
        row = graded[other].iloc[0]
        rows = [int(first["row"][row["key"]]), int(row["row"])]
        raise LenspipeError(
            f"{table.path}: {table.where(rows)}: found grades {first['grade'][row['key']]} and "
            f"{row['grade']} for {row['key']}, expected one; delete the other"
        )
    order = grades.assign(none=grades["grade"] == "").sort_values("none", kind="stable")
    repeated = (order.duplicated("key") & (order["key"] != "")).sort_index()
    if repeated.any():
        log.info(
            "%s: %d rows left out, of a galaxy that has another row: %s",
            table.path, repeated.sum(), table.where(grades["row"][repeated]),
        )  # fmt: skip
    return grades[~repeated].drop(columns="key").reset_index(drop=True)
