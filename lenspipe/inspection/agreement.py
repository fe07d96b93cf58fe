"""Agreement of graders with each other, with themselves, and with known lenses."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from lenspipe.statistics.intervals import TAILS, Estimate, binomial_interval, name_interval

__all__ = ["krippendorff_alpha", "measure_agreement"]

GRADES = "ABCD"


def krippendorff_alpha(counts: ArrayLike) -> Estimate:
    """Agreement of graders beyond chance, with its 95 % interval: Krippendorff's alpha.

    Grades are ordered: a D in place of a C weighs less than one in place of an A (ordinal metric:
    Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section D). Any number of
    graders may have graded an image; those graded once do not count. It is 1 if all always agree,
    and 0 if by chance. None without two graded images, or where only one grade was given.

    The interval is that of the jackknife over images (Efron & Tibshirani 1993, An Introduction to
    the Bootstrap, chapter 11), symmetric in artanh(alpha), with Student's t. Where no more than
    one image is graded differently, it begins where the upper limit of the fraction of such images
    puts it if these are graded as by chance.

    Parameters
    ----------
    counts
        How many graders gave each of N images each of G grades, in their order, shape (N, G).
    """
    table = np.asarray(counts, np.float64)
    table = table[table.sum(axis=1) >= 2]
    n = len(table)
    if n < 2 or np.count_nonzero(table.sum(axis=0)) < 2:
        return None, None, None
    by_grader = table / (table.sum(axis=1, keepdims=True) - 1)
    pairs = by_grader[:, :, None] * table[:, None] - by_grader[:, :, None] * np.eye(table.shape[1])
    total = pairs.sum(axis=0)
    disagreement, left_out = float(_disagreement(total)), _disagreement(total - pairs)
    n_differ = np.count_nonzero(table.max(axis=1) < table.sum(axis=1))
    if n_differ < 2:
        low = 1 - float(binomial_interval(n_differ, n)[1])
        return 1 - disagreement, min(low, 1 - disagreement), 1.0
    if np.isnan(left_out).any():
        return 1 - disagreement, -1.0, 1.0
    # A few images may disagree by more than artanh can take.
    value, *others = np.arctanh(np.maximum(1 - np.append(disagreement, left_out), -1 + 1e-9))
    error = np.sqrt((n - 1) * np.var(others))
    low, high = np.tanh(value + stdtrit(n - 1, TAILS[1]) * error * np.array([-1, 1]))
    return 1 - disagreement, float(low), float(high)


def _disagreement(pairs: np.ndarray) -> np.ndarray:
    """Disagreement over that by chance; NaN where only one grade was given.

    `pairs`, (..., G, G), are the numbers of pairs of grades that graders gave to the same image.
    """
    totals = pairs.sum(axis=-1)
    place = np.cumsum(totals, axis=-1) - totals / 2
    distance = (place[..., None] - place[..., None, :]) ** 2
    observed = (pairs * distance).sum(axis=(-1, -2)) * (totals.sum(axis=-1) - 1)
    by_chance = (totals[..., None] * totals[..., None, :] * distance).sum(axis=(-1, -2))
    return np.where(by_chance > 0, observed / np.where(by_chance > 0, by_chance, 1), np.nan)


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
        ``pairs``: one, other, n, same, alpha with its interval. ``all``: n (candidates graded by
        two or more), alpha with its interval (`krippendorff_alpha`).
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
        counts = _count_grades([first, second], both)
        pair = {"one": one, "other": other, "n": len(both), "same": same}
        pairs.append(pair | name_interval("alpha", krippendorff_alpha(counts)))
    graders = list(of_candidates.values())
    times = Counter(item for grades in graders for item in grades)
    several = sorted(item for item, number in times.items() if number > 1)
    alpha = krippendorff_alpha(_count_grades(graders, several))
    lenses = set(known)
    return {
        "graders": {name: _of_grader(by_grader[name], lenses) for name in sorted(by_grader)},
        "pairs": pairs,
        "all": {"n": len(several)} | name_interval("alpha", alpha),
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


def _count_grades(graders: Sequence[Mapping[str, str]], items: Sequence[str]) -> np.ndarray:
    """How often each of N images was given each grade, (N, 4)."""
    given = [[grades.get(item) for grades in graders] for item in items]
    counts = [[row.count(grade) for grade in GRADES] for row in given]
    return np.array(counts, int).reshape(-1, len(GRADES))
