"""How well scores separate lenses from non-lenses: rates, their intervals, calibration errors.

In all functions `lenses` and `nonlenses` are the scores of N lenses and M non-lenses, `fpr` is the
false-positive rate, the fraction of the non-lenses that pass, and `prior` the fraction of galaxies
that are lenses; `label` is 1 for lenses and 0 for non-lenses, and `p` their probabilities.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betainc

__all__ = [
    "PROPERTY_BINS",
    "Estimate",
    "auc",
    "completeness_at_fpr",
    "completeness_interval",
    "cross_entropy",
    "expected_calibration_error",
    "fraction_interval",
    "name_interval",
    "precision_recall",
    "purity_at",
    "purity_interval",
    "reliability",
    "roc_curve",
    "wilson_interval",
]

#: Bin edges of properties; the last bin is open.
PROPERTY_BINS = {
    "theta_e": (0, 0.6, 0.9, 1.2, 1.5, 1.8, 2.2, 2.6, 3.2, 4.0, 5.0, np.inf),
    "arc_snr": (0, 3, 5, 10, 20, 40, 80, 160, np.inf),
    "mag": (0, 17, 17.5, 18, 18.5, 19, 19.5, 20, np.inf),
    "nobs": (0, 2, 4, 6, 8, 10, 12, np.inf),
}

#: A fraction and the ends of its 95 % interval, (value, low, high); None where it was not measured.
Estimate = tuple[float, float, float] | tuple[None, None, None]

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
    ordered = np.sort(nonlenses)
    below = np.searchsorted(ordered, lenses, "left") + np.searchsorted(ordered, lenses, "right")
    return float(below.mean() / 2 / len(ordered))


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


def purity_at(completeness: ArrayLike, fpr: ArrayLike, prior: float) -> np.ndarray:
    """Fraction of lenses among the galaxies that pass, by Bayes' theorem.

    With completeness C, false-positive rate F and prior pi it is pi C / (pi C + (1 - pi) F); NaN
    where nothing passes. It is a numpy.float64 for scalars.
    """
    lenses = prior * np.asarray(completeness, np.float64)
    passed = lenses + (1 - prior) * np.asarray(fpr, np.float64)
    return np.where(passed > 0, lenses / np.where(passed > 0, passed, 1), np.nan)[()]


def purity_interval(
    completeness: Estimate, fpr: Estimate, prior: float
) -> tuple[float | None, float | None, float | None]:
    """Purity and its interval from completeness, false-positive rate and their intervals.

    The lower end combines the worse ends of both, the upper end the better ones; the interval thus
    covers more than 95 %. The value is None where no non-lens passed: the rate is not zero, it
    could not be measured.
    """
    if completeness[0] is None or fpr[0] is None:
        return None, None, None
    value = purity_at(completeness[0], fpr[0], prior) if fpr[0] > 0 else np.nan
    low = purity_at(completeness[1], fpr[2], prior)
    high = purity_at(completeness[2], fpr[1], prior)
    return _finite(value), _finite(low), _finite(high)


def _finite(value: np.ndarray | float) -> float | None:
    return float(value) if np.isfinite(value) else None


def name_interval(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """Return a value and the ends of its interval under the keys name, name_low and name_high."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def fraction_interval(passes: ArrayLike) -> Estimate:
    """Fraction of N galaxies that pass (bool) and its 95 % interval (Wilson)."""
    passes = np.asarray(passes)
    if len(passes) == 0:
        return None, None, None
    return float(np.mean(passes)), *wilson_interval(int(np.sum(passes)), len(passes))


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


def completeness_interval(
    lenses: ArrayLike, nonlenses: ArrayLike, fpr: float
) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the completeness at a *true* false-positive rate.

    It includes the uncertainty of the cut. The number j of the n non-lenses above the cut with that
    true rate follows a binomial distribution, and the cut lies between the j-th and the next of
    them. For each j, completeness has Jeffreys' posterior, Beta(c + 1/2, m - c + 1/2) with c of m
    lenses found (Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101); the interval ends at quantiles of
    the mixture: the lower end with c counted above the j-th non-lens (none for j = 0), the upper
    end above the next. As in their paper it extends to 0 where no lens is found, and to 1 where all
    are, and is None where `completeness_at_fpr` is None.
    """
    lenses, nonlenses = np.asarray(lenses), np.asarray(nonlenses)
    m, n = len(lenses), len(nonlenses)
    completeness, _ = completeness_at_fpr(lenses, nonlenses, fpr)
    if completeness is None:
        return None, None
    from scipy.stats import binom  # half a second that most users of this module do not need

    first, last = binom.ppf([_NEGLIGIBLE, 1 - _NEGLIGIBLE], n, fpr).astype(int)
    numbers = np.arange(first, last + 1)
    weights = binom.pmf(numbers, n, fpr)
    # The j-th highest non-lens is at index j, between infinite cuts for j = 0 and after the last.
    cuts = np.concatenate([[np.inf], np.sort(nonlenses)[::-1], [-np.inf]])
    ordered = np.sort(lenses)
    ends = []
    for step, level in ((0, 0.025), (1, 0.975)):
        counts = m - np.searchsorted(ordered, cuts[numbers + step], "right")
        n_found, places = np.unique(counts, return_inverse=True)
        mixture = np.bincount(places, weights) / weights.sum()
        ends.append(_quantile(n_found, mixture, m, level))
    return 0.0 if completeness == 0 else ends[0], 1.0 if completeness == 1 else ends[1]


def _quantile(n_found: np.ndarray, weights: np.ndarray, m: int, level: float) -> float:
    """Quantile of a weighted mixture of Jeffreys' posteriors for n_found of m lenses."""

    def excess(completeness: float) -> float:
        return weights @ betainc(n_found + 0.5, m - n_found + 0.5, completeness) - level

    return float(brentq(excess, 0.0, 1.0, xtol=1e-9))


def wilson_interval(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of the fraction `count` of `total` (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    z is its half width in standard deviations, by default 95 %; without trials it is (0, 1).

    Examples
    --------
    >>> low, high = wilson_interval(9, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.596 0.982
    """
    if total == 0:
        return 0.0, 1.0
    fraction = count / total
    centre = fraction + z**2 / (2 * total)
    half = z * np.sqrt(fraction * (1 - fraction) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
    low = float((centre - half) / scale) if count else 0.0
    high = float((centre + half) / scale) if count < total else 1.0
    return low, high


def cross_entropy(label: ArrayLike, p: ArrayLike) -> float | None:
    """Binary cross-entropy, None without galaxies; probabilities are clipped 1e-7 from 0 and 1."""
    label = np.asarray(label, np.float64)
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))) if len(p) else None


def reliability(label: ArrayLike, p: ArrayLike, bins: int) -> list[dict]:
    """Compare probabilities with the fraction of lenses, in a number of bins of equal width.

    For each bin with a galaxy the keys are ``from``, ``to`` (included, as is 0 in the first bin),
    ``n``, mean probability ``p``, fraction of lenses ``lenses`` and its interval ``low``, ``high``.
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], p, "left")
    rows = []
    for place, (start, end) in enumerate(itertools.pairwise(edges)):
        inside = places == place
        if not inside.any():
            continue
        n, n_lenses = int(inside.sum()), int(label[inside].sum())
        low, high = wilson_interval(n_lenses, n)
        rows.append(
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
