"""Expected content of a list of candidates above each threshold, and the grades it was given."""

import itertools
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from lenspipe.evaluation.purity.counting import Search, above
from lenspipe.products.models import random_nonlenses
from lenspipe.statistics.intervals import (
    Estimate,
    fraction_interval,
    name_interval,
    purity_interval,
)

__all__ = [
    "expected_above",
    "graded_above",
    "graded_in_bins",
    "held_out_lenses",
    "shown",
    "verdict_on",
]

#: Sets of grades that are counted.
_GRADES = ("A", "AB", "ABC")

#: Edges of the bins in which probabilities are compared with grades; all but 0 are thresholds.
_EDGES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 0.9999, 1)


def expected_above(
    search: Search,
    held_out: pd.DataFrame | None,
    rates: Sequence[Estimate],
    prior: float,
    placed: Collection[float] = (),
) -> list[dict]:
    """Compute the expected yield and purity above each threshold: ``yield`` in docs/outputs.md.

    `rates` are those of the search's random galaxies at each threshold, `held_out` is the table of
    `lenspipe.products.models.read_held_out`, and `placed` are the thresholds that were placed at
    scores of its non-lenses.
    """
    n, n_known, sky = (above(counts) for counts in (search.searched, search.known, search.sky))
    total = int(search.searched.sum())
    lenses, nonlenses = held_out_lenses(held_out), np.zeros(0, np.float32)
    if held_out is not None:
        nonlenses = random_nonlenses(held_out)["p"].to_numpy(np.float32)
    placed = set(np.asarray([*placed], np.float32).tolist())
    rows = []
    for i, threshold in enumerate(search.thresholds):
        completeness = fraction_interval(lenses >= threshold)
        rate = fraction_interval(nonlenses >= threshold, float(threshold) in placed)
        rows.append(
            {"threshold": shown(threshold), "n": int(n[i]), "n_known": int(n_known[i])}
            | name_interval("completeness", completeness)
            | name_interval("rate", rates[i])
            | name_interval("held_out_rate", rate)
            | name_interval("lenses", _scaled(completeness, prior * total))
            | name_interval("false", _scaled(rate, (1 - prior) * total))
            | name_interval("purity", purity_interval(completeness, rate, prior))
            | name_interval("purity_of_search", purity_interval(completeness, rates[i], prior))
            | {"sky_lenses": None if np.isnan(sky[i]) else float(sky[i])}
        )
    return rows


def held_out_lenses(held_out: pd.DataFrame | None) -> np.ndarray:
    """Scores of the held-out lenses, float32."""
    if held_out is None:
        return np.zeros(0, np.float32)
    return held_out.loc[held_out["class"] == "lens", "p"].to_numpy(np.float32)


def shown(threshold: float) -> float:
    """Round a threshold to the digits that identify it in single precision."""
    return float(str(np.float32(threshold)))


def _scaled(values: Estimate, factor: float) -> list[float | None]:
    return [None if value is None else value * factor for value in values]


def graded_above(grades: pd.DataFrame, threshold: float, below: float = np.inf) -> dict:
    """Count graded candidates with scores from a threshold up to `below`, which is not included.

    The keys are ``n_candidates``, ``n_graded``, and the numbers and fractions graded ``A``, ``AB``,
    ``ABC`` of those graded with their 95 % intervals, None where none is graded.
    """
    p = grades["p"].to_numpy(np.float32)
    inside = grades.loc[(p >= np.float32(threshold)) & (p < np.float32(below)), "grade"]
    given = inside[inside != ""]
    counts: dict = {"n_candidates": len(inside), "n_graded": len(given)}
    for name in _GRADES:
        passes = given.isin(list(name)).to_numpy()
        counts[f"n_{name}"] = int(passes.sum())
        counts |= name_interval(f"part_{name}", fraction_interval(passes))
    return counts


def graded_in_bins(search: Search, grades: pd.DataFrame) -> list[dict]:
    """Compare probabilities on the sky with grades in bins of the score that have a candidate.

    Each has ``from``, ``to`` (not in the bin, except for 1), the counts of `graded_above`, galaxies
    of the search ``n`` and their mean probability on the sky ``sky_probability``.
    """
    edges = np.array(_EDGES, np.float32)
    n, sky = (above(counts) for counts in (search.searched, search.sky))
    n, sky = np.append(n, 0), np.append(sky, 0.0)
    places = np.searchsorted(search.thresholds, edges[1:-1])
    totals = [search.searched.sum(), *n[places], 0], [search.sky.sum(), *sky[places], 0.0]
    bins = []
    for i, (low, high) in enumerate(itertools.pairwise(_EDGES)):
        counts = graded_above(grades, low, np.inf if high == 1 else high)
        inside, weight = (float(total[i] - total[i + 1]) for total in totals)
        if counts["n_candidates"]:
            mean = weight / inside if inside and np.isfinite(weight) else None
            bins.append(
                {"from": low, "to": high} | counts | {"n": int(inside), "sky_probability": mean}
            )
    return bins


def verdict_on(row: dict) -> str | None:
    """Compare the intervals of ``part_ABC`` and ``purity`` in a threshold's row.

    ``consistent`` where they overlap, otherwise ``more lenses than expected`` or ``fewer lenses
    than expected``; None where either was not measured.
    """
    ends = [row[f"{name}_{end}"] for name in ("part_ABC", "purity") for end in ("low", "high")]
    if None in ends:
        return None
    low, high, expected_low, expected_high = ends
    if low > expected_high:
        return "more lenses than expected"
    return "fewer lenses than expected" if high < expected_low else "consistent"
