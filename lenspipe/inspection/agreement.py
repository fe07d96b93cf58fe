"""How well graders agree: with each other, with themselves, with what is known."""

import itertools

import numpy as np

__all__ = ["cohen_kappa", "fleiss_kappa", "measure_agreement"]

GRADES = "ABCD"


def cohen_kappa(one, other):
    """Agreement of two graders beyond chance.

    Parameters
    ----------
    one, other : sequence of str, equal length
        Their grades of the same images.

    Returns
    -------
    float
        1: always alike; 0: as by chance; NaN without images, or where both only gave one grade.

    Notes
    -----
    Cohen (1960), Educational and Psychological Measurement 20, 37.
    """
    one, other = np.asarray(one), np.asarray(other)
    if not len(one):
        return np.nan
    observed = np.mean(one == other)
    chance = sum(np.mean(one == grade) * np.mean(other == grade) for grade in GRADES)
    return float((observed - chance) / (1 - chance)) if chance < 1 else np.nan


def fleiss_kappa(counts):
    """Agreement of any number of graders beyond chance.

    Parameters
    ----------
    counts : array_like of int, shape (N, G)
        How many graders gave each of N images each of G grades; as many graders for each.

    Returns
    -------
    float
        As `cohen_kappa`; NaN also with fewer than two graders.

    Notes
    -----
    Fleiss (1971), Psychological Bulletin 76, 378.
    """
    counts = np.asarray(counts, float)
    n = counts[0].sum() if len(counts) else 0
    if n < 2:
        return np.nan
    observed = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((observed - chance) / (1 - chance)) if chance < 1 else np.nan


def measure_agreement(votes, known=()):
    """Measure how well the graders of a stage agree.

    Parameters
    ----------
    votes : list of dict
        Standing votes of one stage: grader, item, grade.
    known : iterable of str
        Candidates that are known lenses.

    Returns
    -------
    dict
        ``graders``: for each grader n (candidates graded), repeats (n, same: part graded as the
        first time, mean_difference: in grades), and found_known, found_injected (n, found: part of
        the lenses slipped in, and among the candidates, that got A to C). ``pairs``: one, other, n,
        same, kappa. ``all``: n (candidates graded by all), fleiss_kappa. What can't be measured is
        None.
    """
    by_grader, known = {}, set(known)
    for vote in votes:
        if vote["grade"]:
            by_grader.setdefault(vote["grader"], {})[vote["item"]] = vote["grade"]
    own = {name: {i: g for i, g in of.items() if ":" not in i} for name, of in by_grader.items()}
    pairs = []
    for one, other in itertools.combinations(sorted(own), 2):
        both = sorted(own[one].keys() & own[other].keys())
        grades = [own[one][i] for i in both], [own[other][i] for i in both]
        same = _part(a == b for a, b in zip(*grades, strict=True))
        kappa = _number(cohen_kappa(*grades))
        pairs.append({"one": one, "other": other, "n": len(both), "same": same, "kappa": kappa})
    common = sorted(set.intersection(*map(set, own.values()))) if own else []
    counts = [[[g[i] for g in own.values()].count(grade) for grade in GRADES] for i in common]
    return {
        "graders": {name: _of_grader(by_grader[name], known) for name in sorted(own)},
        "pairs": pairs,
        "all": {"n": len(common), "fleiss_kappa": _number(fleiss_kappa(counts))},
    }


def _of_grader(grades, known):
    """Consistency and completeness of one grader."""
    again = [
        (grades[item.removeprefix("repeat:")], grade)
        for item, grade in grades.items()
        if item.startswith("repeat:") and item.removeprefix("repeat:") in grades
    ]
    apart = [abs(GRADES.index(a) - GRADES.index(b)) for a, b in again]
    planted = {
        "known": [g for i, g in grades.items() if i.startswith("known:") or i in known],
        "injected": [g for i, g in grades.items() if i.startswith("injected:")],
    }
    return {
        "n": sum(":" not in item for item in grades),
        "repeats": {
            "n": len(again),
            "same": _part(a == b for a, b in again),
            "mean_difference": float(np.mean(apart)) if apart else None,
        },
        **{
            f"found_{kind}": {"n": len(given), "found": _part(g in "ABC" for g in given)}
            for kind, given in planted.items()
        },
    }


def _part(truths):
    truths = list(truths)
    return sum(truths) / len(truths) if truths else None


def _number(value):
    return None if np.isnan(value) else value
