"""How well scores tell lenses from other galaxies: rates, their intervals, calibration."""

import itertools

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc

__all__ = [
    "EDGES",
    "auc",
    "completeness_at_fpr",
    "completeness_interval",
    "cross_entropy",
    "expected_calibration_error",
    "part_interval",
    "precision_recall",
    "purity_at",
    "purity_interval",
    "reliability",
    "roc_curve",
    "wilson_interval",
]

#: Bins of properties; the last one is open.
EDGES = {
    "theta_e": (0, 0.6, 0.9, 1.2, 1.5, 1.8, 2.2, 2.6, 3.2, np.inf),
    "arc_snr": (0, 3, 5, 10, 20, 40, 80, 160, np.inf),
    "mag": (0, 17, 17.5, 18, 18.5, 19, 19.5, 20, np.inf),
    "nobs": (0, 2, 4, 6, 8, 10, 12, np.inf),
}

# Part of the binomial distribution that is left out at either end: it moves no interval visibly.
_NEGLIGIBLE = 1e-6


def auc(lenses, others):
    """Area under the ROC curve: the chance that a lens scores above a non-lens, ties half.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores.

    Returns
    -------
    float or None
        None where either is empty.
    """
    if len(lenses) == 0 or len(others) == 0:
        return None
    ordered = np.sort(others)
    below = np.searchsorted(ordered, lenses, "left") + np.searchsorted(ordered, lenses, "right")
    return float(below.mean() / 2 / len(ordered))


def roc_curve(lenses, others):
    """The ROC curve.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores; neither is empty.

    Returns
    -------
    fpr, completeness : numpy.ndarray, shape (K,)
        From (0, 0) to (1, 1); one point for each score that occurs, cut at or above it.
    """
    cuts = np.unique(np.concatenate([lenses, others]))[::-1]

    def passing(scores):
        return 1 - np.searchsorted(np.sort(scores), cuts, "left") / len(scores)

    return np.append(0.0, passing(others)), np.append(0.0, passing(lenses))


def precision_recall(lenses, others, prior=None):
    """Purity against completeness, as precision against recall.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores; neither is empty.
    prior : float, optional
        Part of the galaxies that are lenses; that of the scores if not given.

    Returns
    -------
    completeness, purity : numpy.ndarray, shape (K,)
        One point for each score that occurs, cut at or above it, highest first.
    """
    fpr, completeness = roc_curve(lenses, others)
    prior = len(lenses) / (len(lenses) + len(others)) if prior is None else prior
    return completeness[1:], purity_at(completeness[1:], fpr[1:], prior)


def purity_at(completeness, fpr, prior):
    """Part of what passes that is a lens, by Bayes' theorem.

    Parameters
    ----------
    completeness, fpr : array_like
        Parts of the lenses and of the other galaxies that pass.
    prior : float
        Part of the galaxies that are lenses.

    Returns
    -------
    numpy.ndarray or numpy.float64
        pi C / (pi C + (1 - pi) F); NaN where nothing passes.
    """
    found = prior * np.asarray(completeness, np.float64)
    passing = found + (1 - prior) * np.asarray(fpr, np.float64)
    return np.where(passing > 0, found / np.where(passing > 0, passing, 1), np.nan)[()]


def purity_interval(completeness, fpr, prior):
    """Purity and its interval from completeness and false-positive rate with theirs.

    An end takes the worse, or the better, end of both, and so covers more than 95 %.

    Parameters
    ----------
    completeness, fpr : tuple of (float or None)
        Value, low, high; all None where it was not measured.
    prior : float
        Part of the galaxies that are lenses.

    Returns
    -------
    tuple of (float or None)
        Value, low, high. The value is None where no non-lens passed: the rate is not nothing, it
        could not be measured.
    """
    if completeness[0] is None or fpr[0] is None:
        return None, None, None
    value = purity_at(completeness[0], fpr[0], prior) if fpr[0] > 0 else np.nan
    low, high = (purity_at(completeness[i], fpr[j], prior) for i, j in ((1, 2), (2, 1)))
    return tuple(float(v) if np.isfinite(v) else None for v in (value, low, high))


def part_interval(passes):
    """Part of a class that passes and its 95 % interval (Wilson).

    Parameters
    ----------
    passes : array_like of bool, shape (N,)

    Returns
    -------
    tuple of (float or None)
        Value, low, high; all None without galaxies.
    """
    if len(passes) == 0:
        return None, None, None
    return float(np.mean(passes)), *wilson_interval(int(np.sum(passes)), len(passes))


def completeness_at_fpr(lenses, others, fpr):
    """Completeness at a false-positive rate.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores.
    fpr : float
        Largest part of the non-lenses that may pass.

    Returns
    -------
    completeness : float or None
        Part of the lenses above the cut; None where there are no lenses, or fewer than 1 / fpr
        non-lenses to measure the rate with.
    cut : float or None
        Scores *above* it pass: the lowest cut that lets no more than that part through.
    """
    allowed = int(np.floor(fpr * len(others) + 1e-9))
    if allowed < 1:
        return None, None
    cut = float(np.sort(others)[::-1][min(allowed, len(others) - 1)])
    completeness = float((np.asarray(lenses) > cut).mean()) if len(lenses) else None
    return completeness, cut


def completeness_interval(lenses, others, fpr):
    """95 % interval of the completeness at a *true* false-positive rate.

    It includes what is not known of the cut. Of n non-lenses the number j above the cut with that
    true rate follows a binomial distribution, and the cut lies between the j-th and the next of
    them. For each j, completeness has Jeffreys' posterior, Beta(c + 1/2, m - c + 1/2) with c of m
    lenses found (Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101); the interval ends at quantiles of
    the mixture: the lower end with c counted above the j-th non-lens (none for j = 0), the upper
    end above the next. As theirs it reaches to 0 where no lens is found, and to 1 where all are.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores.
    fpr : float
        Part of the non-lenses that pass.

    Returns
    -------
    low, high : float or None
        None where `completeness_at_fpr` is None.
    """
    m, n = len(lenses), len(others)
    completeness, _ = completeness_at_fpr(lenses, others, fpr)
    if completeness is None:
        return None, None
    from scipy.stats import binom  # half a second that most users of this module do not need

    first, last = binom.ppf([_NEGLIGIBLE, 1 - _NEGLIGIBLE], n, fpr).astype(int)
    numbers = np.arange(first, last + 1)
    weights = binom.pmf(numbers, n, fpr)
    # Non-lenses from the highest on: the j-th is at place j, before the first nothing passes and
    # after the last everything.
    cuts = np.concatenate([[np.inf], np.sort(others)[::-1], [-np.inf]])
    ordered = np.sort(lenses)
    ends = []
    for step, level in ((0, 0.025), (1, 0.975)):
        counts = m - np.searchsorted(ordered, cuts[numbers + step], "right")
        found, places = np.unique(counts, return_inverse=True)
        parts = np.bincount(places, weights) / weights.sum()
        ends.append(_quantile(found, parts, m, level))
    return 0.0 if completeness == 0 else ends[0], 1.0 if completeness == 1 else ends[1]


def _quantile(found, parts, m, level):
    """Quantile of a mixture of Jeffreys' posteriors, `found` of m with weights `parts`."""

    def excess(completeness):
        return parts @ betainc(found + 0.5, m - found + 0.5, completeness) - level

    return float(brentq(excess, 0.0, 1.0, xtol=1e-9))


def wilson_interval(count, total, z=1.959964):
    """Interval of a fraction (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    Parameters
    ----------
    count, total : int
        Successes, trials.
    z : float
        Half width in standard deviations; 1.96 for 95 %.

    Returns
    -------
    low, high : float
        (0, 1) without trials.
    """
    if total == 0:
        return 0.0, 1.0
    part = count / total
    centre = part + z**2 / (2 * total)
    half = z * np.sqrt(part * (1 - part) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
    low = float((centre - half) / scale) if count else 0.0
    high = float((centre + half) / scale) if count < total else 1.0
    return low, high


def cross_entropy(label, p):
    """Binary cross-entropy; probabilities count as at most 1e-7 from 0 or 1.

    Parameters
    ----------
    label : array_like, shape (N,)
        1 lens, 0 none.
    p : array_like of float, shape (N,)
        Probabilities.

    Returns
    -------
    float or None
        None without galaxies.
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))) if len(p) else None


def reliability(label, p, bins):
    """Compare probabilities with what they promise, in bins of equal width.

    Parameters
    ----------
    label : array_like, shape (N,)
        1 lens, 0 none.
    p : array_like of float, shape (N,)
        Probabilities.
    bins : int
        How many.

    Returns
    -------
    list of dict
        Of each bin that holds a galaxy ``from``, ``to`` (it belongs to the bin, 0 to the first),
        ``n``, mean probability ``p``, part of lenses ``lenses`` and its interval ``low``, ``high``.
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], p, "left")
    found = []
    for place, (start, end) in enumerate(itertools.pairwise(edges)):
        inside = places == place
        if not inside.any():
            continue
        n, n_lenses = int(inside.sum()), int(label[inside].sum())
        low, high = wilson_interval(n_lenses, n)
        found.append(
            {
                "from": float(start),
                "to": float(end),
                "n": n,
                "p": float(p[inside].mean()),
                "lenses": n_lenses / n,
                "low": low,
                "high": high,
            }
        )
    return found


def expected_calibration_error(label, p, bins):
    """Mean distance of probability and part of lenses, over the bins of `reliability`.

    Each bin counts by its galaxies (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Parameters
    ----------
    label, p, bins
        As for `reliability`.

    Returns
    -------
    float or None
        None without galaxies.
    """
    if len(p) == 0:
        return None
    found = reliability(label, p, bins)
    return sum(bin_["n"] * abs(bin_["lenses"] - bin_["p"]) for bin_ in found) / len(p)
