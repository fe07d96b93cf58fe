"""Agreement of graders with each other, with themselves, and with known lenses."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["cohen_kappa", "fleiss_kappa", "measure_agreement"]

GRADES = "ABCD"


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two graders beyond chance (Cohen 1960, Educ. Psychol. Meas. 20, 37).

    Parameters
    ----------
    first, second
        Their grades of the same images.

    Returns
    -------
    float
        1: always the same; 0: as by chance; NaN without images, or where both only gave one grade.
    """
    if not len(first):
        return np.nan
    a, b = np.asarray(first), np.asarray(second)
    observed = np.mean(a == b)
    chance = sum(np.mean(a == grade) * np.mean(b == grade) for grade in GRADES)
    return float((observed - chance) / (1 - chance)) if chance < 1 else np.nan


def fleiss_kappa(counts: ArrayLike) -> float:
    """Agreement of any number of graders beyond chance (Fleiss 1971, Psychol. Bull. 76, 378).

    Parameters
    ----------
    counts
        How many graders gave each of N images each of G grades, shape (N, G); the same number of
        graders for each image.

    Returns
    -------
    float
        As `cohen_kappa`; NaN also with fewer than two graders.
    """
    table = np.asarray(counts, float)
    n = table[0].sum() if len(table) else 0
    if n < 2:
        return np.nan
    observed = ((table**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((table.sum(axis=0) / table.sum()) ** 2).sum()
    return float((observed - chance) / (1 - chance)) if chance < 1 else np.nan


def measure_agreement(
    votes: Iterable[Mapping[str, Any]], known: Iterable[str] = ()
) -> dict[str, Any]:
    """Measure how well the graders of a stage agree.

    Parameters
    ----------
    votes
        Latest votes of one stage: grader, item, grade.
    known
        Candidates that are known lenses.

    Returns
    -------
    dict
        ``graders``: for each grader n (candidates graded), repeats (n, same: fraction with the
        grade of the first time, mean_difference: in grades), and found_known, found_injected (n,
        found: fraction of the lenses, controls and candidates, that were graded A to C).
        ``pairs``: one, other, n, same, kappa. ``all``: n (candidates graded by all), fleiss_kappa.
        None for what cannot be measured.
    """
    by_grader: dict[str, dict[str, str]] = {}
    for vote in votes:
        if vote["grade"]:
            by_grader.setdefault(vote["grader"], {})[vote["item"]] = vote["grade"]
    of_candidates = {
        name: {item: grade for item, grade in grades.items() if ":" not in item}
        for name, grades in by_grader.items()
    }
    pairs = []
    for one, other in itertools.combinations(sorted(of_candidates), 2):
        first, second = of_candidates[one], of_candidates[other]
        both = sorted(first.keys() & second.keys())
        same = _fraction(first[item] == second[item] for item in both)
        kappa = _number(cohen_kappa([first[i] for i in both], [second[i] for i in both]))
        pairs.append({"one": one, "other": other, "n": len(both), "same": same, "kappa": kappa})
    all_grades = list(of_candidates.values())
    common = sorted(set.intersection(*map(set, all_grades))) if all_grades else []
    counts = [[[g[item] for g in all_grades].count(grade) for grade in GRADES] for item in common]
    lenses = set(known)
    return {
        "graders": {name: _of_grader(by_grader[name], lenses) for name in sorted(by_grader)},
        "pairs": pairs,
        "all": {"n": len(common), "fleiss_kappa": _number(fleiss_kappa(counts))},
    }


def _of_grader(grades: Mapping[str, str], known: set[str]) -> dict[str, Any]:
    """Consistency and completeness of one grader."""
    again = [
        (grades[item.removeprefix("repeat:")], grade)
        for item, grade in grades.items()
        if item.startswith("repeat:") and item.removeprefix("repeat:") in grades
    ]
    differences = [abs(GRADES.index(a) - GRADES.index(b)) for a, b in again]
    lenses = {
        "known": [g for i, g in grades.items() if i.startswith("known:") or i in known],
        "injected": [g for i, g in grades.items() if i.startswith("injected:")],
    }
    return {
        "n": sum(":" not in item for item in grades),
        "repeats": {
            "n": len(again),
            "same": _fraction(a == b for a, b in again),
            "mean_difference": float(np.mean(differences)) if differences else None,
        },
        **{
            f"found_{kind}": {"n": len(given), "found": _fraction(g in "ABC" for g in given)}
            for kind, given in lenses.items()
        },
    }


def _fraction(outcomes: Iterable[bool]) -> float | None:
    outcomes = list(outcomes)
    return sum(outcomes) / len(outcomes) if outcomes else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
