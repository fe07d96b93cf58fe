"""How well scores separate lenses from non-lenses: rates, their intervals, calibration errors.

In all functions `lenses` and `nonlenses` are the scores of N lenses and M non-lenses, `fpr` is the
false-positive rate, the fraction of the non-lenses that pass, and `prior` the fraction of galaxies
that are lenses; `label` is 1 for lenses and 0 for non-lenses, and `p` their probabilities.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betainc

from lenspipe.statistics.intervals import (
    TAILS,
    Estimate,
    area_interval,
    binomial_interval,
    purity_at,
)

__all__ = [
    "MIN_GROUPS",
    "PROPERTY_BINS",
    "auc",
    "auc_interval",
    "completeness_at_fpr",
    "completeness_at_true_rate",
    "completeness_of_counts",
    "cross_entropy",
    "expected_calibration_error",
    "placement_variance",
    "placements",
    "precision_recall",
    "reliability",
    "roc_curve",
]

#: Bin edges of properties; the last bin is open.
PROPERTY_BINS = {
    "theta_e": (0, 0.6, 0.9, 1.2, 1.5, 1.8, 2.2, 2.6, 3.2, 4.0, 5.0, np.inf),
    "arc_snr": (0, 3, 5, 10, 20, 40, 80, 160, np.inf),
    "mag": (0, 17, 17.5, 18, 18.5, 19, 19.5, 20, np.inf),
    "nobs": (0, 2, 4, 6, 8, 10, 12, np.inf),
}

#: Minimum number of groups of galaxies, such as bricks, whose scatter is taken as an error.
MIN_GROUPS = 10

# Probability neglected in either tail of the binomial distribution: no interval changes visibly.
_NEGLIGIBLE = 1e-6


def auc(lenses: ArrayLike, nonlenses: ArrayLike) -> float | None:
    """Area under the ROC curve: the probability that a lens scores above a non-lens, ties half.

    None without lenses or without non-lenses.

    Examples
    --------
    >>> auc([0.9, 0.5], [0.1, 0.5])
    0.875
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    if len(lenses) == 0 or len(nonlenses) == 0:
        return None
    return float(placements(lenses, nonlenses).mean())


def placements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fraction of M other scores below each of N scores, ties counting half."""
    ordered = np.sort(others)
    below, up_to = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return (below + up_to) / 2 / len(ordered)


def auc_interval(
    lenses: ArrayLike, nonlenses: ArrayLike, groups: tuple[ArrayLike, ArrayLike] | None = None
) -> Estimate:
    """Area under the ROC curve with its 95 % interval, symmetric in the logit.

    The variance is that of the placements (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44,
    837). With `groups`, labels of the N lenses and of the M non-lenses such as their bricks,
    galaxies of one group may be alike (Obuchowski 1997, Biometrics 53, 567); with fewer than
    `MIN_GROUPS` groups their scatter cannot be measured, and galaxies count as independent. None
    without lenses or without non-lenses.
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    m, n = len(lenses), len(nonlenses)
    if m == 0 or n == 0:
        return None, None, None
    above, below = placements(lenses, nonlenses), 1 - placements(nonlenses, lenses)
    area = float(above.mean())
    parts = np.concatenate([(above - area) / m, (below - area) / n])
    labels = np.arange(m + n)
    if groups is not None:
        labels = np.unique(np.concatenate(groups), return_inverse=True)[1]
    freedom = np.inf
    if (n_groups := labels.max() + 1) < m + n and n_groups >= MIN_GROUPS:
        sums = np.bincount(labels, parts)
        variance, freedom = sums @ sums * n_groups / (n_groups - 1), n_groups - 1
    else:
        variance = placement_variance(above) + placement_variance(below)
    return area_interval(area, float(np.sqrt(variance)), min(m, n), freedom)


def placement_variance(values: np.ndarray) -> float:
    """Variance of the mean of N placements; that of one is at most a quarter."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25


def roc_curve(lenses: ArrayLike, nonlenses: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ROC curve of at least one lens and one non-lens.

    Both are (K,), from (0, 0) to (1, 1), with one point for each distinct score: the rates (false
    positives, completeness) at or above it.
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    cuts = np.unique(np.concatenate([lenses, nonlenses]))[::-1]

    def rates(scores: np.ndarray) -> np.ndarray:
        return 1 - np.searchsorted(np.sort(scores), cuts, "left") / len(scores)

    return np.append(0.0, rates(nonlenses)), np.append(0.0, rates(lenses))


def precision_recall(
    lenses: ArrayLike, nonlenses: ArrayLike, prior: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute purity against completeness, that is precision against recall.

    There is at least one lens and one non-lens; the default prior is the fraction of lenses.
    Completeness and purity have shape (K,), one point for each distinct score: the values at or
    above it, highest score first.
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    fpr, completeness = roc_curve(lenses, nonlenses)
    prior = len(lenses) / (len(lenses) + len(nonlenses)) if prior is None else prior
    return completeness[1:], purity_at(completeness[1:], fpr[1:], prior)


def completeness_at_fpr(
    lenses: ArrayLike, nonlenses: ArrayLike, fpr: float
) -> tuple[float | None, float | None]:
    """Completeness at a maximum false-positive rate.

    Returns
    -------
    completeness : float or None
        Fraction of the lenses above the cut; None where there are no lenses, or fewer than 1 / fpr
        non-lenses to measure the rate with.
    cut : float or None
        Scores *above* it pass: the lowest cut at which the rate does not exceed fpr.

    Examples
    --------
    >>> completeness_at_fpr([0.9, 0.6, 0.2], [0.7, 0.3, 0.2, 0.1], fpr=0.25)
    (0.6666666666666666, 0.3)
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    allowed = int(np.floor(fpr * len(nonlenses) + 1e-9))
    if allowed < 1:
        return None, None
    cut = float(np.sort(nonlenses)[::-1][min(allowed, len(nonlenses) - 1)])
    completeness = float((lenses > cut).mean()) if len(lenses) else None
    return completeness, cut


def completeness_at_true_rate(lenses: ArrayLike, nonlenses: ArrayLike, fpr: float) -> Estimate:
    """Completeness at a *true* false-positive rate, with its 95 % interval.

    The interval includes the uncertainty of the cut, which the value, that of
    `completeness_at_fpr`, takes for known: the number j of the n non-lenses above the cut with that
    true rate follows a binomial distribution, and the cut lies between the j-th and the next of
    them. For each j and either end, completeness has Jeffreys' posterior,
    Beta(c + 1/2, m - c + 1/2) with c of m lenses found; the interval ends at quantiles of the
    mixture. It extends to 0 where no lens is found, and to 1 where all are.
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    completeness, _ = completeness_at_fpr(lenses, nonlenses, fpr)
    if completeness is None:
        return None, None, None
    numbers, weights = _numbers_above(len(nonlenses), fpr)
    # The j-th highest non-lens is at index j, between infinite cuts for j = 0 and after the last.
    cuts = np.concatenate([[np.inf], np.sort(nonlenses)[::-1], [-np.inf]])
    ordered, m = np.sort(lenses), len(lenses)
    ends = [m - np.searchsorted(ordered, cuts[numbers + step], "right") for step in (0, 1)]
    low, high = _mixture_interval(np.concatenate(ends), np.tile(weights, 2), m)
    return completeness, 0.0 if completeness == 0 else low, 1.0 if completeness == 1 else high


def completeness_of_counts(
    lenses: np.ndarray, nonlenses: np.ndarray, n_lenses: int, n_nonlenses: int, fpr: float
) -> tuple[float, float]:
    """95 % interval of the completeness at a *true* false-positive rate, from counts.

    As `completeness_at_true_rate`, where only the numbers of lenses and of non-lenses at or above
    each of T thresholds are known, (T,) integers; both descend.
    """
    numbers, weights = _numbers_above(n_nonlenses, fpr)
    above, below = np.append(n_lenses, lenses), np.append(lenses, 0)
    # Thresholds with fewer than j non-lenses are above the cut, those with more below it.
    first = below[len(nonlenses) - np.searchsorted(nonlenses[::-1], numbers, "left")]
    last = above[len(nonlenses) - np.searchsorted(nonlenses[::-1], numbers, "right")]
    return _mixture_interval(np.concatenate([first, last]), np.tile(weights, 2), n_lenses)


def _numbers_above(n: int, fpr: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of n non-lenses above the cut with a true rate, and the probability of each."""
    from scipy.stats import binom  # half a second that most users of this module do not need

    first, last = binom.ppf([_NEGLIGIBLE, 1 - _NEGLIGIBLE], n, fpr).astype(int)
    numbers = np.arange(first, last + 1)
    weights = binom.pmf(numbers, n, fpr)
    return numbers, weights / weights.sum()


def _mixture_interval(n_found: np.ndarray, weights: np.ndarray, m: int) -> tuple[float, float]:
    """Interval of a weighted mixture of Jeffreys' posteriors for n_found of m lenses."""
    counts, places = np.unique(n_found, return_inverse=True)
    mixture = np.bincount(places, weights) / weights.sum()

    def excess(completeness: float, tail: float) -> float:
        return mixture @ betainc(counts + 0.5, m - counts + 0.5, completeness) - tail

    low, high = (brentq(excess, 0.0, 1.0, args=(tail,), xtol=1e-9) for tail in TAILS)
    return float(low), float(high)


def cross_entropy(label: ArrayLike, p: ArrayLike) -> float | None:
    """Binary cross-entropy, None without galaxies; probabilities are clipped 1e-7 from 0 and 1."""
    label = np.asarray(label, np.float64)
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))) if len(p) else None


def reliability(
    label: ArrayLike, p: ArrayLike, bins: int, equal_numbers: bool = False
) -> list[dict]:
    """Compare probabilities with the fraction of lenses, in a number of bins of equal width.

    With `equal_numbers` the edges are quantiles of the probabilities, so that each bin has the same
    number of galaxies (up to one, and up to galaxies with the same probability, which share a bin).

    For each bin with a galaxy the keys are ``from``, ``to`` (included, as is 0 in the first bin),
    ``n``, mean probability ``p``, fraction of lenses ``lenses`` and its interval ``low``, ``high``.
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    if equal_numbers and len(p):
        inner = np.unique(np.quantile(p, edges[1:-1], method="inverted_cdf"))
        edges = np.concatenate([[0.0], inner[(inner > 0) & (inner < p.max())], [1.0]])
    places = np.searchsorted(edges[1:-1], p, "left")
    rows = []
    for place, (start, end) in enumerate(itertools.pairwise(edges)):
        inside = places == place
        if not inside.any():
            continue
        n, n_lenses = int(inside.sum()), int(label[inside].sum())
        low, high = binomial_interval(n_lenses, n)
        rows.append(
            {
                "from": float(start),
                "to": float(end),
                "n": n,
                "p": float(p[inside].mean()),
                "lenses": n_lenses / n,
                "low": float(low),
                "high": float(high),
            }
        )
    return rows


def expected_calibration_error(label: ArrayLike, p: ArrayLike, bins: int) -> float | None:
    """Mean absolute difference of probability and fraction of lenses in the bins of `reliability`.

    Bins are weighted by their number of galaxies (Guo et al. 2017, arXiv:1706.04599, eq. 3). None
    without galaxies.
    """
    p = np.asarray(p)
    if len(p) == 0:
        return None
    rows = reliability(label, p, bins)
    return sum(row["n"] * abs(row["lenses"] - row["p"]) for row in rows) / len(p)
