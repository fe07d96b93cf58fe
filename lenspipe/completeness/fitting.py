"""Penalised logistic regression whose penalties follow from the data."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import norm

from lenspipe.utils.progress import log

__all__ = ["Fit", "fit_logistic", "widened"]

#: Standard deviation of a coefficient, a logit, before anything is known: it only matters where
#: there are no data, and keeps the fit finite there.
PRIOR_SD = 10.0

#: Range of smoothing parameters: from no penalty to a straight line.
_SMOOTHING = (1e-3, 1e6)

#: Rounds of smoothing parameters and steps of a fit, and the change of log evidence that ends them.
_ROUNDS, _STEPS, _ENOUGH = 60, 40, 0.01

#: Galaxies or bricks are said to differ by more than chance below this chance.
_LEVEL = 0.05


class Fit(NamedTuple):
    """What came of it.

    Attributes
    ----------
    coefficients : (P,) float array
    covariance : (P, P) float array
    smoothing : list of float
        One for each penalty.
    freedom : (P,) float array
        Effective degrees of freedom of each coefficient.
    evidence : float
        Log of the marginal likelihood (Laplace).
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    smoothing: list
    freedom: np.ndarray
    evidence: float


def fit_logistic(design, found, penalties):
    """Fit the chance to be found, with smoothing parameters of the highest evidence.

    Coefficients are the mode of the posterior distribution, found by Newton's steps (penalised
    iteratively reweighted least squares); their covariance is the inverse of its curvature there
    (Wahba 1983, JRSS B 45, 133; Marra & Wood 2012, Scand. J. Stat. 39, 53, for its coverage). The
    smoothing parameters maximise the Laplace-approximate marginal likelihood, REML's equivalent
    (Wood 2011, JRSS B 73, 3), by the steps of Wood & Fasiolo (2017, Biometrics 73, 1071).

    Half a found and half a missed lens, spread evenly over the rows, are added (as of Clogg et al.
    1991, JASA 86, 68), so that the fit is finite also where all or none are found.

    Parameters
    ----------
    design : (N, P) float array
        The first column is the constant's.
    found : (N,) bool array
    penalties : sequence of tuple (slice, (k, k) float array)
        Coefficients and penalty matrix of each; penalties of the same coefficients add up.

    Returns
    -------
    Fit
    """
    n, p = design.shape
    trials = 1 + 1 / n
    target = (np.asarray(found, np.float64) + 0.5 / n) / trials
    ridge = np.full(p, PRIOR_SD**-2)
    ridge[0] = 0
    smoothing = np.ones(len(penalties))
    beta = np.zeros(p)
    beta[0] = np.log(target.mean() / (1 - target.mean()))
    before = -np.inf
    for _ in range(_ROUNDS):
        total = np.diag(ridge)
        for weight, (where, matrix) in zip(smoothing, penalties, strict=True):
            total[where, where] += weight * matrix
        beta, curvature = _newton(design, target, trials, total, beta)
        covariance = np.linalg.inv(curvature)
        evidence = _evidence(design, target, trials, total, beta, curvature)
        if abs(evidence - before) < _ENOUGH or not penalties:
            break
        before = evidence
        smoothing = _better(smoothing, penalties, total, covariance, beta)
    freedom = 1 - np.einsum("ij,ji->i", covariance, total)
    return Fit(beta, covariance, smoothing.tolist(), freedom, float(evidence))


def _newton(design, target, trials, total, beta):
    """Go to the mode of the posterior distribution; returns it and the curvature there."""
    worth = _log_posterior(design, target, trials, total, beta)
    for _ in range(_STEPS):
        p = expit(design @ beta)
        weights = trials * p * (1 - p)
        curvature = (design.T * weights) @ design + total
        slope = trials * (design.T @ (target - p)) - total @ beta
        step = cho_solve(cho_factor(curvature), slope)
        while (new := _log_posterior(design, target, trials, total, beta + step)) < worth - 1e-9:
            step = step / 2
        beta, gain, worth = beta + step, new - worth, new
        if gain < 1e-6:
            break
    return beta, curvature


def _log_posterior(design, target, trials, total, beta):
    """Log likelihood minus penalty, without constants."""
    eta = design @ beta
    likelihood = trials * (target @ eta - np.logaddexp(0, eta).sum())
    return likelihood - beta @ total @ beta / 2


def _evidence(design, target, trials, total, beta, curvature):
    """Log of the marginal likelihood by Laplace's approximation."""
    # The constant's coefficient has no prior.
    prior = np.linalg.slogdet(total[1:, 1:])[1]
    worth = _log_posterior(design, target, trials, total, beta)
    return worth + (prior - np.linalg.slogdet(curvature)[1]) / 2


def _better(smoothing, penalties, total, covariance, beta):
    """A step towards the smoothing parameters of the highest evidence."""
    better = []
    for weight, (where, matrix) in zip(smoothing, penalties, strict=True):
        prior = np.linalg.inv(total[where, where])
        freed = np.sum(prior * matrix) - np.sum(covariance[where, where] * matrix)
        bent = beta[where] @ matrix @ beta[where]
        better.append(weight * max(freed, 1e-12) / max(bent, 1e-12))
    return np.clip(better, *_SMOOTHING)


def widened(design, found, fit, galaxies, bricks):
    """Find how much bricks differ, and the coefficients' covariance where lenses may be alike.

    Lenses of a galaxy, and of a brick, may share a shift of the logit. Its variance follows from
    products of the residuals of two lenses of the same; it is taken for 0 where chance alone gives
    as much in one of 20 cases. The covariance grows by what such shifts do to the coefficients
    (a sandwich, as of Liang & Zeger 1986, Biometrika 73, 13, with one variance for all).

    Parameters
    ----------
    design : (N, P) float array
    found : (N,) bool array
    fit : Fit
    galaxies, bricks : (N,) int array
        Labels from 0; a galaxy is in one brick.

    Returns
    -------
    variance : float
        Of bricks' shifts, logits squared.
    covariance : (P, P) float array
    """
    p = expit(design @ fit.coefficients)
    weight = p * (1 - p)
    below, variances = np.arange(len(p)), []
    for labels in (galaxies, bricks):
        pairs = _squares(labels, found - p) - _squares(below, found - p)
        expected = _squares(labels, weight) - _squares(below, weight)
        # Without two lenses of the same, both are 0 but for rounding.
        differ = expected > 1e-6 and pairs > norm.isf(_LEVEL) * np.sqrt(2 * expected)
        variances.append(pairs / expected if differ else 0.0)
        below = labels
    of_brick = float(variances[1])
    covariance = fit.covariance
    for labels, variance in ((galaxies, max(variances[0] - of_brick, 0)), (bricks, of_brick)):
        if variance:
            slopes = np.zeros((labels.max() + 1, design.shape[1]))
            np.add.at(slopes, labels, weight[:, None] * design)
            moved = slopes @ fit.covariance
            covariance = covariance + variance * moved.T @ moved
    log.info(
        "selection: beyond chance and conditions galaxies differ by %.2f, bricks by %.2f in logit",
        *np.sqrt(variances),
    )
    return of_brick, covariance


def _squares(labels, values):
    """Sum of squares of the sums of values over labels."""
    return float((np.bincount(labels, values) ** 2).sum())
