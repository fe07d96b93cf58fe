"""Penalised logistic regression with smoothing parameters estimated from the data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import norm

from lenspipe.utils.progress import log

__all__ = ["Fit", "clustered_covariance", "fit_logistic"]

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


def clustered_covariance(
    design: np.ndarray, found: np.ndarray, fit: Fit, galaxies: np.ndarray, bricks: np.ndarray
) -> tuple[float, np.ndarray]:
    """Estimate the scatter between bricks and the covariance of coefficients that includes it.

    Lenses in the same galaxy, and in the same brick, may share a shift of the logit. Its variance
    is estimated from products of the residuals of two such lenses; it is taken as 0 where chance
    alone would give as much in one of 20 cases. The covariance grows by the effect of such shifts
    on the coefficients (a sandwich, as in Liang & Zeger 1986, Biometrika 73, 13, with one variance
    for all). Return the variance of the bricks' shifts, logits squared, and the covariance, (P, P).

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
    finer, variances = np.arange(len(p)), []
    for labels in (galaxies, bricks):
        pairs = _sum_of_squares(labels, found - p) - _sum_of_squares(finer, found - p)
        expected = _sum_of_squares(labels, weight) - _sum_of_squares(finer, weight)
        # Without two lenses of one label, both are 0 up to rounding.
        differ = expected > 1e-6 and pairs > norm.isf(_SCATTER_LEVEL) * np.sqrt(2 * expected)
        variances.append(pairs / expected if differ else 0.0)
        finer = labels
    brick_variance = float(variances[1])
    galaxy_variance = max(variances[0] - brick_variance, 0)
    covariance = fit.covariance
    for labels, variance in ((galaxies, galaxy_variance), (bricks, brick_variance)):
        if variance:
            slopes = np.zeros((labels.max() + 1, design.shape[1]))
            np.add.at(slopes, labels, weight[:, None] * design)
            shift = slopes @ fit.covariance
            covariance = covariance + variance * shift.T @ shift
    log.info(
        "selection: scatter in logit beyond chance and conditions: %.2f between galaxies, %.2f "
        "between bricks",
        *np.sqrt(variances),
    )
    return brick_variance, covariance


def _sum_of_squares(labels: np.ndarray, values: np.ndarray) -> float:
    """Sum over labels of the squared sum of the values of each."""
    return float((np.bincount(labels, values) ** 2).sum())
