"""From votes to grades: A is 4, B 3, C 2, D 1; the mean over the graders gives the grade.

Beside it stands the probability of a lens from all votes, weighted by the graders' skill.
"""

import csv
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.agreement import measure_agreement
from lenspipe.inspection.posterior import Retirement, estimate_posterior
from lenspipe.inspection.store import TAGS, Store, damaged
from lenspipe.products.described import write_described
from lenspipe.products.files import require, write_json
from lenspipe.products.schema import GRADES, VOTES, names_of
from lenspipe.products.tables import read_table, write_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tables import escape_formulas, fits_values

__all__ = ["POINTS", "export_grades", "grade_of_mean", "grade_table", "means_of_stage"]

#: Numerical values of the grades, as in Huang et al. (2021, ApJ 909, 27).
POINTS = {"A": 4, "B": 3, "C": 2, "D": 1}

#: Minimum mean of each grade.
MIN_MEANS = {"A": 3.5, "B": 2.75, "C": 2.0}


def grade_of_mean(mean: float) -> str:
    """Grade for a mean of 1 to 4: A from 3.5, B from 2.75, C from 2, D below; empty for NaN."""
    if np.isnan(mean):
        return ""
    return next((grade for grade, minimum in MIN_MEANS.items() if mean >= minimum), "D")


def means_of_stage(store: Store, stage: int) -> pd.Series:
    """Mean value of each candidate's votes in a stage, by id; without repeats and controls."""
    votes = [vote for vote in store.votes(stage=stage, latest=True) if _counts(vote)]
    points = [POINTS[vote["grade"]] for vote in votes]
    return pd.Series(points, [vote["item"] for vote in votes], dtype=float).groupby(level=0).mean()


def grade_table(store: Store, ids: Sequence[str]) -> pd.DataFrame:
    """Grades of candidates, each from the votes of the latest stage in which it has votes.

    Parameters
    ----------
    ids
        Of the candidates.

    Returns
    -------
    pandas.DataFrame
        In the order of `ids`: grade, mean, spread, n_votes, stage, votes, comments, tags.
    """
    by_stage: dict[str, dict[int, dict[str, str]]] = {}
    comments: dict[str, list[str]] = {}
    tags: dict[str, dict[str, set[str]]] = {}
    for vote in store.votes(latest=True):
        item = vote["item"].removeprefix("repeat:")
        if vote["comment"]:
            comments.setdefault(item, []).append(f"{vote['grader']}: {vote['comment']}")
        for tag in vote["tags"].split():
            tags.setdefault(item, {}).setdefault(tag, set()).add(vote["grader"])
        if _counts(vote):
            stages = by_stage.setdefault(item, {})
            stages.setdefault(vote["stage"], {})[vote["grader"]] = vote["grade"]
    rows = []
    for id_ in ids:
        stage, grades = max(by_stage.get(id_, {0: {}}).items())
        points = [POINTS[grade] for grade in grades.values()]
        mean = float(np.mean(points)) if points else np.nan
        rows.append(
            {
                "grade": grade_of_mean(mean),
                "mean": mean,
                "spread": float(np.std(points)) if points else np.nan,
                "n_votes": len(points),
                "stage": stage,
                "votes": " | ".join(f"{name}: {grades[name]}" for name in sorted(grades)),
                "comments": " | ".join(comments.get(id_, [])),
                "tags": _count_tags(tags.get(id_, {})),
            }
        )
    columns = ["grade", "mean", "spread", "n_votes", "stage", "votes", "comments", "tags"]
    table = pd.DataFrame(rows, index=list(ids), columns=columns)
    return table.astype({"n_votes": "int32", "stage": "int32", "mean": float, "spread": float})


def export_grades(
    paths: RunPaths, store: Store, retirement: Retirement | None = None
) -> dict[str, int]:
    """Write the candidates with their grades, all votes, and the agreement of the graders.

    Writes ``inspection/grades.fits``, ``grades.csv``, ``votes.csv`` and ``agreement.json``. In the
    CSV files texts are as `lenspipe.utils.tables.escape_formulas` returns them.

    Parameters
    ----------
    retirement
        When a candidate needs no further votes; the defaults if not given.

    Returns
    -------
    dict
        Grade -> number of candidates; empty for those without a vote.

    Raises
    ------
    LenspipeError
        The run has no candidates, the votes cannot be read, or there are fewer than were exported
        before.
    """
    votes = _all_votes(paths, store)
    path = require(paths.candidates, "candidates")
    table = Table.read(path, format="fits", character_as_bytes=False)
    ids = [str(id_) for id_ in table["id"]]
    known = np.asarray(table["known"], bool) if "known" in table.colnames else np.zeros(len(ids))
    network = (
        table["p_calibrated"] if "p_calibrated" in table.colnames else np.full(len(ids), np.nan)
    )
    posterior = estimate_posterior(
        store.votes(latest=True), pd.DataFrame({"known": known, "p_calibrated": network}, ids)
    )
    grades = grade_table(store, ids).join(posterior.table.drop(columns="n_graders"))
    grades["retired"] = (retirement or Retirement()).applies(posterior.table)
    for column in GRADES:
        table[column.name] = fits_values(grades[column.name])
        table[column.name].description = column.description
    write_described(paths.inspection("grades.fits"), table)
    frame = table.to_pandas()
    # A CSV may have any characters.
    for name in ("votes", "comments"):
        frame[name] = grades[name].to_numpy()
    vote_table = pd.DataFrame(votes, columns=names_of(VOTES))
    for file, rows in (("grades.csv", frame), ("votes.csv", vote_table)):
        # Quoted, as a carriage return in a text would otherwise end the row.
        write_table(paths.inspection(file), escape_formulas(rows), quoting=csv.QUOTE_NONNUMERIC)
    known_ids = [id_ for id_, is_known in zip(ids, known, strict=True) if is_known]
    stages = sorted({vote["stage"] for vote in votes})
    result = {
        f"stage_{stage}": measure_agreement(store.votes(stage=stage, latest=True), known_ids)
        for stage in stages
    }
    result["skills"] = posterior.skills()
    write_json(paths.inspection("agreement.json"), result)
    return grades["grade"].value_counts().to_dict()


def _count_tags(graders: Mapping[str, set[str]]) -> str:
    """Tags and the number of graders who gave each, most frequent first."""
    numbers = {tag: len(graders[tag]) for tag in TAGS if tag in graders}
    order = sorted(numbers, key=lambda tag: -numbers[tag])
    return " | ".join(f"{tag}: {numbers[tag]}" for tag in order)


def _all_votes(paths: RunPaths, store: Store) -> list[dict[str, Any]]:
    """All votes: at least as many as were exported before, since none is ever removed."""
    try:
        votes = store.votes()
    except sqlite3.Error as error:
        raise damaged(store.path, error) from None
    exported = paths.inspection("votes.csv")
    if exported.exists():
        number = len(read_table(exported, "votes", columns=["n"]))
        if len(votes) < number:
            raise LenspipeError(
                f"{store.path}: found {len(votes)} votes, expected at least the {number} of "
                f"{exported.name}; restore it from a copy, or delete {exported.name} to export "
                "anyway"
            )
    return votes


def _counts(vote: Mapping[str, Any]) -> bool:
    """Whether a vote is on a candidate, not on a repeat or control, and has not been withdrawn."""
    return bool(vote["grade"]) and ":" not in vote["item"]
