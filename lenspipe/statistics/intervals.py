"""Intervals of 95 % of fractions, and of what follows from them.

docs/statistics.md has the conventions, and how often the intervals contain the truth. `fpr` is the
false-positive rate, the fraction of the non-lenses that pass, and `prior` the fraction of galaxies
that are lenses.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, expit, logit, ndtri, stdtrit

__all__ = [
    "TAILS",
    "Z_SCORE",
    "Estimate",
    "area_interval",
    "binomial_interval",
    "clustered_interval",
    "estimate_fraction",
    "format_percent",
    "fraction_interval",
    "name_interval",
    "named_interval",
    "purity_at",
    "purity_interval",
]

#: A quantity and the ends of its 95 % interval, (value, low, high); None where it was not measured.
Estimate = tuple[float, float, float] | tuple[None, None, None]

#: Quantiles at the ends of a 95 % interval, and its half width in standard deviations.
TAILS = (0.025, 0.975)
Z_SCORE = float(ndtri(TAILS[1]))


def binomial_interval(count: ArrayLike, total: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a fraction of which `count` of `total` is known: modified Jeffreys.

    Quantiles of Beta(k + 1/2, n - k + 1/2), but exact ones (Clopper & Pearson 1934, Biometrika 26,
    404) where Jeffreys' cover too little: where none or all of the n count, the other end is
    1 - 0.025^(1/n) or 0.025^(1/n), and where one or all but one counts, the near end is
    1 - 0.975^(1/n) or 0.975^(1/n) (Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101, sections 3.1 and
    4.1.2, who use 0 and 1 for the latter). Without trials it is (0, 1). Counts may be effective
    numbers that are no integers. Arrays are broadcast; scalars give numpy.float64.

    Examples
    --------
    >>> low, high = binomial_interval(9, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.619 0.997
    >>> low, high = binomial_interval(0, 306)
    >>> print(f"{low:.3f} {high:.4f}")
    0.000 0.0120
    """
    k, n = np.broadcast_arrays(np.asarray(count, np.float64), np.asarray(total, np.float64))
    trials = np.maximum(n, 1)
    inner = np.clip(k, 0.5, trials - 0.5)
    low, high = (betaincinv(inner + 0.5, trials - inner + 0.5, tail) for tail in TAILS)
    exact_low = betaincinv(inner, trials - inner + 1, TAILS[0])
    exact_high = betaincinv(inner + 1, trials - inner, TAILS[1])
    low = np.where((k <= 1) & (k < n), exact_low, low)
    high = np.where((n - k <= 1) & (k > 0), exact_high, high)
    return np.where(k <= 0, 0.0, low)[()], np.where(k >= n, 1.0, high)[()]


def estimate_fraction(count: int, total: int, cuts_placed: int = 0) -> Estimate:
    """Fraction `count` of `total` and its 95 % interval; None without trials.

    `cuts_placed` is the number of cuts that were placed at a score of these galaxies themselves, so
    that a given number passes; by default the cut does not depend on them, and the interval is that
    of `binomial_interval`. The rate above the (k + 1)-th highest of n scores follows
    Beta(k + 1, n - k), whatever the distribution of the scores (David & Nagaraja 2003, Order
    Statistics, section 2.1); that of several groups, each above a cut of its own, to a good
    approximation Beta(k + g, n - k), since sums of gamma variates add their shapes.
    """
    if total == 0:
        return None, None, None
    if cuts_placed and count < total:
        low, high = betaincinv(count + cuts_placed, total - count, TAILS)
    else:
        low, high = binomial_interval(count, total)
    return count / total, float(low), float(high)


def fraction_interval(passes: ArrayLike, cuts_placed: int = 0) -> Estimate:
    """Fraction of N galaxies that pass (bool) with its interval, as in `estimate_fraction`."""
    passes = np.asarray(passes)
    return estimate_fraction(int(np.sum(passes)), len(passes), cuts_placed)


def clustered_interval(
    passes: ArrayLike, groups: ArrayLike, clusters: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the fractions of rows that pass in groups, where rows of a cluster are alike.

    Counts are divided by the design effect 1 + rho (sum of n_c^2 / n - 1), with n_c of the n rows
    in cluster c (Kish 1965, Survey Sampling; for such intervals Korn & Graubard 1998, Surv.
    Methodol. 24, 193), before `binomial_interval`. The correlation rho of rows of a cluster is that
    of all groups together (analysis of variance: Ridout, Demetrio & Firth 1999, Biometrics 55,
    137); 1 where no group has several clusters.

    Parameters
    ----------
    passes
        Shape (N,), bool.
    groups
        Group of each row, integers from 0, shape (N,); each has a row.
    clusters
        Labels, shape (N,).
    """
    passes, groups = np.asarray(passes, np.float64), np.asarray(groups)
    units, unit_of_row = np.unique(
        np.stack([groups, np.unique(clusters, return_inverse=True)[1]]), axis=1, return_inverse=True
    )
    size, n = np.bincount(unit_of_row), np.bincount(groups)
    k = np.bincount(groups, passes)
    mean = np.bincount(unit_of_row, passes) / size
    total_mean = (k / n)[units[0]]
    squares = np.bincount(units[0], size**2) / n
    between, within = size @ (mean - total_mean) ** 2, size @ (mean * (1 - mean))
    freedom_between, freedom_within = len(size) - len(n), len(passes) - len(size)
    rho = 1.0
    if freedom_between and freedom_within:
        within = within / freedom_within
        excess = (between / freedom_between - within) * freedom_between / (n - squares).sum()
        rho = float(np.clip(excess / max(excess + within, 1e-12), 0, 1))
    effect = 1 + rho * (squares - 1)
    return binomial_interval(k / effect, n / effect)


def name_interval(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """Return a value and the ends of its interval under the keys name, name_low and name_high."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def named_interval(record: Mapping[str, float | None], name: str) -> Estimate:
    """Return what `name_interval` named."""
    value, low, high = (record[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return None, None, None
    return value, low, high


def format_percent(record: Mapping[str, float | None], name: str) -> str:
    """Format a fraction with its interval, as `name_interval` names them, in per cent."""
    estimate = named_interval(record, name)
    if estimate[0] is None:
        return "not measured"
    return "{:.3g} % (95 %: {:.3g} to {:.3g})".format(*(100 * value for value in estimate))


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

    Purity depends on the ratio C / F; the interval of that of two independent quantities follows
    from their intervals (method of variance estimates recovery, MOVER-R: Donner & Zou 2012, Stat.
    Methods Med. Res. 21, 347; Newcombe 2016, Stat. Methods Med. Res. 25, 1774). A rate with an
    interval of no width is known. The value is None where no non-lens passed: the rate is not zero,
    it could not be measured.
    """
    if completeness[0] is None or fpr[0] is None:
        return None, None, None
    c, c_low, c_high = completeness
    f, f_low, f_high = fpr
    low_c, high_c = c_low * (2 * c - c_low), c_high * (2 * c - c_high)
    low_f, high_f = f_low * (2 * f - f_low), f_high * (2 * f - f_high)
    # Rounding may leave -1e-17 where both intervals have no width.
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(max((c * f) ** 2 - low_c * high_f, 0.0))
        lowest = np.divide(low_c, c * f + root)
        root = np.sqrt(max((c * f) ** 2 - high_c * low_f, 0.0))
        highest = np.divide(c * f + root, low_f) if low_f > 0 else np.inf
    value = purity_at(c, f, prior) if f > 0 else np.nan
    low = purity_at(lowest, 1, prior) if c_low > 0 else 0.0
    high = 1.0 if np.isinf(highest) else purity_at(highest, 1, prior)
    if c_high == 0:
        high = 0.0
    return _finite(value), _finite(low), _finite(high)


def area_interval(area: float, error: float, n: float, freedom: float = np.inf) -> Estimate:
    """Area under a ROC curve and its 95 % interval, symmetric in the logit.

    Parameters
    ----------
    error
        Standard error of the area. Where it is 0, because the classes do not overlap, the interval
        is that of a fraction of `n`, the number in the smaller class.
    freedom
        Degrees of freedom of the error (Student's t).
    """
    if error == 0 or area in (0, 1):
        low, high = binomial_interval(round(area * n), n)
        return area, float(low), float(high)
    half_width = stdtrit(freedom, TAILS[1]) if np.isfinite(freedom) else Z_SCORE
    ends = expit(logit(area) + half_width * error / (area * (1 - area)) * np.array([-1, 1]))
    return area, *ends.tolist()


def _finite(value: np.ndarray | float) -> float | None:
    return float(value) if np.isfinite(value) else None
