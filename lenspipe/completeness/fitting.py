"""Penalised logistic regression with smoothing parameters estimated from the data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import norm, t

from lenspipe.statistics.intervals import TAILS, Z_SCORE
from lenspipe.statistics.metrics import MIN_GROUPS
from lenspipe.utils.progress import log

__all__ = ["Fit", "Scatter", "clustered_covariance", "fit_logistic"]

#: Prior standard deviation of a coefficient, in logits: it only matters where there are no data,
#: and keeps the fit finite there.
PRIOR_SD = 10.0

#: Range of smoothing parameters: from no penalty to a straight line.
_SMOOTHING_RANGE = (1e-3, 1e6)

#: Maximum number of updates of the smoothing parameters, and of Newton steps for each; change of
#: the log evidence at which updates stop.
_MAX_UPDATES, _MAX_NEWTON_STEPS, _EVIDENCE_TOLERANCE = 60, 40, 0.01

#: Significance level at which galaxies or bricks are taken to differ.
_SCATTER_LEVEL = 0.05

#: Maximum of the upper limit of the variance between bricks, logits squared, which two bricks would
#: not limit: 0.3 logits, 7 points of completeness at one half, on either side.
MAX_BRICK_VARIANCE = 0.09


class Fit(NamedTuple):
    """A fitted logistic regression.

    Attributes
    ----------
    coefficients
        Shape (P,).
    covariance
        Shape (P, P).
    smoothing
        Smoothing parameter of each penalty.
    freedom
        Effective degrees of freedom of each coefficient, shape (P,).
    evidence
        Log of the marginal likelihood (Laplace approximation).
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    smoothing: list[float]
    freedom: np.ndarray
    evidence: float


def fit_logistic(
    design: np.ndarray, found: np.ndarray, penalties: Sequence[tuple[slice, np.ndarray]]
) -> Fit:
    """Fit the probability of being found, with smoothing parameters that maximise the evidence.

    Coefficients are the mode of the posterior distribution, found by Newton's method (penalised
    iteratively reweighted least squares); their covariance is the inverse of its curvature there
    (Wahba 1983, JRSS B 45, 133; Marra & Wood 2012, Scand. J. Stat. 39, 53, for its coverage). The
    smoothing parameters maximise the Laplace-approximate marginal likelihood, equivalent to REML
    (Wood 2011, JRSS B 73, 3), by the updates of Wood & Fasiolo (2017, Biometrics 73, 1071).

    Half a found and half a missed lens, spread uniformly over the rows, are added (as in Clogg et
    al. 1991, JASA 86, 68), so that the fit is finite even if all or none are found.

    Parameters
    ----------
    design
        Shape (N, P); the first column is the constant.
    found
        Shape (N,), bool.
    penalties
        Coefficients and (k, k) matrix of each; penalties of the same coefficients add up.
    """
    n, p = design.shape
    trials = 1 + 1 / n
    target = (np.asarray(found, np.float64) + 0.5 / n) / trials
    likelihood = _Likelihood(design, target, trials)
    ridge = np.full(p, PRIOR_SD**-2)
    ridge[0] = 0
    smoothing = np.ones(len(penalties))
    beta = np.zeros(p)
    beta[0] = np.log(target.mean() / (1 - target.mean()))
    previous = -np.inf
    for _ in range(_MAX_UPDATES):
        penalty = np.diag(ridge)
        for weight, (columns, matrix) in zip(smoothing, penalties, strict=True):
            penalty[columns, columns] += weight * matrix
        beta, curvature = likelihood.maximise_posterior(penalty, beta)
        covariance = np.linalg.inv(curvature)
        evidence = likelihood.log_evidence(penalty, beta, curvature)
        if abs(evidence - previous) < _EVIDENCE_TOLERANCE or not penalties:
            break
        previous = evidence
        smoothing = _update_smoothing(smoothing, penalties, penalty, covariance, beta)
    freedom = 1 - np.einsum("ij,ji->i", covariance, penalty)
    return Fit(beta, covariance, smoothing.tolist(), freedom, float(evidence))


class _Likelihood(NamedTuple):
    """Likelihood of coefficients, given the fraction found of the trials of each row."""

    design: np.ndarray
    target: np.ndarray
    trials: float

    def maximise_posterior(
        self, penalty: np.ndarray, beta: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the mode of the posterior distribution and the curvature there."""
        current = self.log_posterior(penalty, beta)
        for _ in range(_MAX_NEWTON_STEPS):
            p = expit(self.design @ beta)
            weights = self.trials * p * (1 - p)
            curvature = (self.design.T * weights) @ self.design + penalty
            slope = self.trials * (self.design.T @ (self.target - p)) - penalty @ beta
            step = cho_solve(cho_factor(curvature), slope)
            while (new := self.log_posterior(penalty, beta + step)) < current - 1e-9:
                step = step / 2
            beta, gain, current = beta + step, new - current, new
            if gain < 1e-6:
                break
        return beta, curvature

    def log_posterior(self, penalty: np.ndarray, beta: np.ndarray) -> float:
        """Log likelihood minus penalty, up to a constant."""
        eta = self.design @ beta
        log_likelihood = self.trials * (self.target @ eta - np.logaddexp(0, eta).sum())
        return log_likelihood - beta @ penalty @ beta / 2

    def log_evidence(self, penalty: np.ndarray, beta: np.ndarray, curvature: np.ndarray) -> float:
        """Log of the marginal likelihood in Laplace's approximation."""
        # The constant's coefficient has a flat prior.
        prior = np.linalg.slogdet(penalty[1:, 1:])[1]
        curvature_term = np.linalg.slogdet(curvature)[1]
        return self.log_posterior(penalty, beta) + (prior - curvature_term) / 2


def _update_smoothing(
    smoothing: np.ndarray,
    penalties: Sequence[tuple[slice, np.ndarray]],
    penalty: np.ndarray,
    covariance: np.ndarray,
    beta: np.ndarray,
) -> np.ndarray:
    """Take one step towards the smoothing parameters of the highest evidence."""
    updated = []
    for weight, (columns, matrix) in zip(smoothing, penalties, strict=True):
        prior = np.linalg.inv(penalty[columns, columns])
        freedom = np.sum(prior * matrix) - np.sum(covariance[columns, columns] * matrix)
        roughness = beta[columns] @ matrix @ beta[columns]
        updated.append(weight * max(freedom, 1e-12) / max(roughness, 1e-12))
    return np.clip(updated, *_SMOOTHING_RANGE)


class Scatter(NamedTuple):
    """Scatter of completeness between bricks beyond what their conditions explain.

    Attributes
    ----------
    variance
        Logits squared; an upper limit where it is not measured.
    measured
        Whether there are enough bricks to tell it from nothing.
    """

    variance: float
    measured: bool


def clustered_covariance(
    design: np.ndarray, found: np.ndarray, fit: Fit, galaxies: np.ndarray, bricks: np.ndarray
) -> tuple[Scatter, np.ndarray]:
    """Estimate the scatter between bricks and the covariance of coefficients that includes it.

    Lenses in the same galaxy, and in the same brick, may share a shift of the logit. Its variance
    is estimated from products of the residuals of two such lenses. That of galaxies is taken as 0
    where chance alone would give as much in one of 20 cases; in place of such a variance of bricks,
    and of that of few bricks, stands its upper limit. The covariance grows by the effect of such
    shifts on the coefficients (a sandwich, as in Liang & Zeger 1986, Biometrika 73, 13, with one
    variance for all). Return the bricks' scatter, and the covariance, (P, P).

    Parameters
    ----------
    design
        Shape (N, P).
    found
        Shape (N,), bool.
    galaxies, bricks
        Integer labels from 0, shape (N,); a galaxy is in one brick.
    """
    p = expit(design @ fit.coefficients)
    weight = p * (1 - p)
    of_galaxies, _ = _shared_variance(np.arange(len(p)), galaxies, found - p, weight)
    of_bricks, differ = _shared_variance(galaxies, bricks, found - p, weight)
    n_bricks = len(np.unique(bricks))
    scatter = Scatter(of_bricks, bool(differ and n_bricks >= MIN_GROUPS))
    if not scatter.measured:
        scatter = Scatter(_upper_limit(galaxies, bricks, found - p, weight, of_galaxies), False)
    galaxy_variance = max(of_galaxies - of_bricks, 0)
    covariance = fit.covariance
    for labels, variance in ((galaxies, galaxy_variance), (bricks, scatter.variance)):
        if variance:
            slopes = np.zeros((labels.max() + 1, design.shape[1]))
            np.add.at(slopes, labels, weight[:, None] * design)
            shift = slopes @ fit.covariance
            covariance = covariance + variance * shift.T @ shift
    log.info(
        "selection: scatter in logit beyond chance and conditions: %.2f between galaxies, %s%.2f "
        "between %d bricks%s",
        of_galaxies**0.5, "" if scatter.measured else "below ", scatter.variance**0.5, n_bricks,
        "" if scatter.measured else ", which cannot be told from none",
    )  # fmt: skip
    return scatter, covariance


def _shared_variance(
    finer: np.ndarray, labels: np.ndarray, residual: np.ndarray, weight: np.ndarray
) -> tuple[float, bool]:
    """Variance of the shift shared by rows of a label, and whether it is more than chance.

    It is from products of residuals of rows with one label, but different finer ones; 0 where it is
    no more than chance.
    """
    pairs = _sum_of_squares(labels, residual) - _sum_of_squares(finer, residual)
    expected = _sum_of_squares(labels, weight) - _sum_of_squares(finer, weight)
    # Without two lenses of one label, both are 0 up to rounding.
    differ = expected > 1e-6 and pairs > norm.isf(_SCATTER_LEVEL) * np.sqrt(2 * expected)
    return (float(pairs / expected), True) if differ else (0.0, False)


def _upper_limit(
    galaxies: np.ndarray,
    bricks: np.ndarray,
    residual: np.ndarray,
    weight: np.ndarray,
    galaxy_variance: float,
) -> float:
    """Upper limit of the variance of the shift shared by the lenses of a brick.

    With it in place of the variance, an interval of two standard deviations is as wide as Student's
    t makes that of a variance known from so few bricks. The scatter of the residuals' sums over
    bricks counts as no less than that without any shift, as the fit follows the shifts of few
    bricks by their conditions.
    """
    of_bricks, of_galaxies = (_sum_of_squares(labels, weight) for labels in (bricks, galaxies))
    if of_bricks - of_galaxies < 1e-6:
        # No brick has lenses in two galaxies.
        return 0.0
    n = len(np.unique(bricks))
    if n == 1:
        return MAX_BRICK_VARIANCE
    by_chance = weight.sum() + galaxy_variance * of_galaxies
    observed = max(_sum_of_squares(bricks, residual) * n / (n - 1), by_chance)
    widening = (t.isf(TAILS[0], n - 1) / Z_SCORE) ** 2
    return float(min((observed * widening - by_chance) / of_bricks, MAX_BRICK_VARIANCE))


def _sum_of_squares(labels: np.ndarray, values: np.ndarray) -> float:
    """Sum over labels of the squared sum of the values of each."""
    return float((np.bincount(labels, values) ** 2).sum())
