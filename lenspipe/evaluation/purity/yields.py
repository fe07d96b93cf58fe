"""What a list of candidates should hold above each threshold, and what people found in it."""

import itertools

import numpy as np

from lenspipe.evaluation.purity.counting import above, rate_interval
from lenspipe.products.predictions import random_nonlenses
from lenspipe.statistics.metrics import part_interval, purity_interval

__all__ = ["expected_above", "graded_above", "graded_in_bins", "shown", "verdict_on"]

#: What is counted of graded candidates.
_GRADES = ("A", "AB", "ABC")

#: Edges of the bins that probabilities are compared with grades in; thresholds all of them but 0.
_EDGES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 0.9999, 1)


def _with_ends(name, values):
    """Name a value and the ends of its interval."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def expected_above(search, held_out, rates, prior):
    """Say what each threshold should give where a part `prior` of the galaxies are lenses.

    Parameters
    ----------
    search : lenspipe.evaluation.purity.counting.Search
    held_out : pandas.DataFrame or None
        As of `lenspipe.products.predictions.read_held_out`.
    rates : list of tuple
        Rate, low, high of the search's random galaxies at each threshold, None without any.
    prior : float
        Part of the galaxies that are lenses.

    Returns
    -------
    list of dict
        For each threshold what docs/outputs.md says of ``yield``, but for grades.
    """
    n, n_known, sky = (above(counts) for counts in (search.searched, search.known, search.sky))
    total = int(search.searched.sum())
    lenses = others = np.zeros(0, np.float32)
    if held_out is not None:
        lenses = held_out.loc[held_out["class"] == "lens", "p"].to_numpy(np.float32)
        others = random_nonlenses(held_out)["p"].to_numpy(np.float32)
    rows = []
    for i, threshold in enumerate(search.thresholds):
        completeness = part_interval(lenses >= threshold)
        rate = rate_interval(int((others >= threshold).sum()), len(others))
        rows.append(
            {"threshold": shown(threshold), "n": int(n[i]), "n_known": int(n_known[i])}
            | _with_ends("completeness", completeness)
            | _with_ends("rate", rates[i])
            | _with_ends("held_out_rate", rate)
            | _with_ends("lenses", _times(completeness, prior * total))
            | _with_ends("false", _times(rate, (1 - prior) * total))
            | _with_ends("purity", purity_interval(completeness, rate, prior))
            | _with_ends("purity_of_search", purity_interval(completeness, rates[i], prior))
            | {"sky_lenses": None if np.isnan(sky[i]) else float(sky[i])}
        )
    return rows


def shown(threshold):
    """A threshold with as few digits as tell it from others in single precision.

    Parameters
    ----------
    threshold : float

    Returns
    -------
    float
    """
    return float(str(np.float32(threshold)))


def _times(values, factor):
    return tuple(None if value is None else value * factor for value in values)


def graded_above(grades, threshold, below=np.inf):
    """Count graded candidates from a threshold on.

    Parameters
    ----------
    grades : pandas.DataFrame
        As of `lenspipe.evaluation.random_galaxies.read_grades`.
    threshold, below : float
        Least score, and the one that ends the bin.

    Returns
    -------
    dict
        ``n_candidates``, ``n_graded``, and the parts graded ``A``, ``AB``, ``ABC`` of those graded
        with their 95 % intervals (Wilson), None where none is graded.
    """
    p = grades["p"].to_numpy(np.float32)
    inside = grades.loc[(p >= np.float32(threshold)) & (p < np.float32(below)), "grade"]
    given = inside[inside != ""]
    found = {"n_candidates": len(inside), "n_graded": len(given)}
    for name in _GRADES:
        passes = given.isin(list(name)).to_numpy()
        found[f"n_{name}"] = int(passes.sum())
        found |= _with_ends(f"part_{name}", part_interval(passes))
    return found


def graded_in_bins(search, grades):
    """Compare probabilities on the sky with what people found, bin by bin of the score.

    Parameters
    ----------
    search : lenspipe.evaluation.purity.counting.Search
    grades : pandas.DataFrame
        As of `lenspipe.evaluation.random_galaxies.read_grades`.

    Returns
    -------
    list of dict
        Of each bin with a candidate ``from``, ``to`` (not in the bin, but for 1), what
        `graded_above` says, galaxies of the search ``n`` and their mean probability on the sky
        ``sky_probability``.
    """
    edges = np.array(_EDGES, np.float32)
    n, sky = (above(counts) for counts in (search.searched, search.sky))
    n, sky = np.append(n, 0), np.append(sky, 0.0)
    places = np.searchsorted(search.thresholds, edges[1:-1])
    totals = [search.searched.sum(), *n[places], 0], [search.sky.sum(), *sky[places], 0.0]
    bins = []
    for i, (low, high) in enumerate(itertools.pairwise(_EDGES)):
        own = graded_above(grades, low, np.inf if high == 1 else high)
        inside, weight = (float(total[i] - total[i + 1]) for total in totals)
        if own["n_candidates"]:
            mean = weight / inside if inside and np.isfinite(weight) else None
            bins.append(
                {"from": low, "to": high} | own | {"n": int(inside), "sky_probability": mean}
            )
    return bins


def verdict_on(row):
    """Compare the part graded A to C with the purity that was expected.

    Parameters
    ----------
    row : dict
        Of a threshold: ``purity``, ``part_ABC`` and the ends of both.

    Returns
    -------
    str or None
        ``consistent`` where the intervals overlap, else ``more lenses than expected`` or ``fewer
        lenses than expected``; None where either was not measured.
    """
    ends = [row[f"{name}_{end}"] for name in ("part_ABC", "purity") for end in ("low", "high")]
    if None in ends:
        return None
    low, high, expected_low, expected_high = ends
    if low > expected_high:
        return "more lenses than expected"
    return "fewer lenses than expected" if high < expected_low else "consistent"
