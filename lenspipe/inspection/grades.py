"""From votes to grades: A is 4, B 3, C 2, D 1; the mean over the graders gives the grade."""

import csv

import numpy as np
import pandas as pd
from astropy.table import Table

from lenspipe.inspection.agreement import measure_agreement
from lenspipe.products.files import require, write_json
from lenspipe.products.schema.declarations import names_of
from lenspipe.products.schema.results import GRADES, VOTES
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic

__all__ = ["NUMBERS", "export", "grade_of_mean", "grade_table", "means_of_stage"]

#: Numbers of the grades, as in Huang et al. (2021, ApJ 909, 27) and after.
NUMBERS = {"A": 4, "B": 3, "C": 2, "D": 1}

#: Least mean of each grade.
LEAST = {"A": 3.5, "B": 2.75, "C": 2.0}


def grade_of_mean(mean):
    """Grade that a mean of numbers gives.

    Parameters
    ----------
    mean : float
        1 to 4, or NaN.

    Returns
    -------
    str
        A from 3.5, B from 2.75, C from 2, D below; empty for NaN.
    """
    if np.isnan(mean):
        return ""
    return next((grade for grade, least in LEAST.items() if mean >= least), "D")


def means_of_stage(store, stage):
    """Mean number of each candidate that has a vote in a stage.

    Returns
    -------
    pandas.Series of float
        By the candidate's id; without repeats and checks.
    """
    votes = store.votes(stage=stage, latest=True)
    numbers = pd.Series(
        [NUMBERS[v["grade"]] for v in votes if _counts(v)],
        [v["item"] for v in votes if _counts(v)],
        dtype=float,
    )
    return numbers.groupby(level=0).mean()


def grade_table(store, ids):
    """Grades of candidates, each by the votes of the latest stage that it has votes of.

    Parameters
    ----------
    store : lenspipe.inspection.store.Store
    ids : sequence of str
        Of the candidates.

    Returns
    -------
    pandas.DataFrame
        In the order of `ids`: grade, mean, spread, n_votes, stage, votes, comments; see
        docs/outputs.md.
    """
    standing, said = {}, {}
    for vote in store.votes(latest=True):
        item = vote["item"].removeprefix("repeat:")
        if vote["comment"]:
            said.setdefault(item, []).append(f"{vote['grader']}: {vote['comment']}")
        if _counts(vote):
            stages = standing.setdefault(item, {})
            stages.setdefault(vote["stage"], {})[vote["grader"]] = vote["grade"]
    rows = []
    for id_ in ids:
        stage, grades = max(standing.get(id_, {0: {}}).items())
        numbers = [NUMBERS[grade] for grade in grades.values()]
        mean = float(np.mean(numbers)) if numbers else np.nan
        rows.append(
            {
                "grade": grade_of_mean(mean),
                "mean": mean,
                "spread": float(np.std(numbers)) if numbers else np.nan,
                "n_votes": len(numbers),
                "stage": stage,
                "votes": " | ".join(f"{name}: {grades[name]}" for name in sorted(grades)),
                "comments": " | ".join(said.get(id_, [])),
            }
        )
    table = pd.DataFrame(rows, index=list(ids), columns=names_of(GRADES))
    return table.astype({"n_votes": "int32", "stage": "int32", "mean": float, "spread": float})


def export(paths, store):
    """Write the candidates with their grades, every vote, and how well the graders agree.

    Writes ``inspection/grades.fits``, ``grades.csv``, ``votes.csv`` and ``agreement.json``.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    store : lenspipe.inspection.store.Store

    Returns
    -------
    dict
        Grade -> number of candidates; empty for those without a vote.

    Raises
    ------
    LenspipeError
        The run has no candidates.
    """
    path = require(paths.candidates, "candidates")
    table = Table.read(path, format="fits", character_as_bytes=False)
    ids = [str(id_) for id_ in table["id"]]
    grades = grade_table(store, ids)
    for column in GRADES:
        values = grades[column.name].to_numpy()
        # FITS has no strings of length 0, and no letters beyond ASCII.
        if values.dtype.kind not in "if":
            values = [str(text).encode("ascii", "replace").decode() for text in values] or None
            values = np.zeros(0, "U1") if values is None else np.array(values)
        table[column.name] = values
        table[column.name].description = column.description
    with atomic(paths.inspection("grades.fits")) as temporary:
        table.write(temporary, format="fits")
    frame = table.to_pandas()
    # Comments in their own letters here.
    frame["comments"] = grades["comments"].to_numpy()
    write_table(paths.inspection("grades.csv"), frame)
    votes = store.votes()
    with atomic(paths.inspection("votes.csv")) as temporary, open(temporary, "w") as file:
        writer = csv.DictWriter(file, names_of(VOTES), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(votes)
    known = (
        [i for i, k in zip(ids, table["known"], strict=True) if k]
        if "known" in table.colnames
        else []
    )
    stages = sorted({vote["stage"] for vote in votes})
    result = {
        f"stage_{stage}": measure_agreement(store.votes(stage=stage, latest=True), known)
        for stage in stages
    }
    write_json(paths.inspection("agreement.json"), result)
    return grades["grade"].value_counts().to_dict()


def _counts(vote):
    """Whether a vote is on a candidate itself, and not taken back."""
    return bool(vote["grade"]) and ":" not in vote["item"]
