"""Votes of several people on the same images, weighted by how well each tells lenses.

Each grader has a confusion matrix: the probability of each grade for a lens and for a non-lens
(Dawid & Skene 1979, Appl. Stat. 28, 20). Graders, images and the fraction of lenses are estimated
together, by Gibbs sampling with priors on all of them (Kim & Ghahramani 2012, AISTATS, PMLR 22,
619). Given the truth, votes of different graders are independent in that model. Where those on
control lenses are not, because all err on the same ones, the evidence of several votes is divided
by the design effect (Kish 1965, Survey Sampling, section 5.4).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

__all__ = ["GRADE_NAMES", "PRIOR_VOTES", "Votes", "WeighedVotes", "vote_information", "weigh_votes"]

GRADE_NAMES = "ABCD"

#: What is expected of a grader of whom nothing is known, as numbers of votes: rows for non-lenses
#: and lenses, columns for grades A to D. That few give an A to non-lenses counts as fifty votes, as
#: a single grader's votes alone do not tell a generous grader from a list with many lenses.
PRIOR_VOTES = np.array([[1.0, 3.0, 12.0, 34.0], [6.0, 6.0, 5.0, 3.0]])

#: Standard deviation of the logarithm of the odds of a lens, before any vote.
_LOG_ODDS_SD = 2.0

#: Pairs of votes on control lenses, without correlation, that are added to those of the graders.
_PRIOR_PAIRS = 200

#: Number of Newton steps, of at most one each.
_NEWTON_STEPS = 6

_INTERVAL = 0.025, 0.975


@dataclass(frozen=True)
class Votes:
    """Votes on images; arrays of V votes.

    Attributes
    ----------
    image, grader, grade
        Numbers of the image, the grader and the grade (A is 0, D is 3).
    weight
        1, or less for several votes of a grader on the same galaxy.
    """

    image: np.ndarray
    grader: np.ndarray
    grade: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class WeighedVotes:
    """What votes say of N images and G graders.

    Attributes
    ----------
    p, low, high
        Probability of a lens for each image, and its 95 % interval given the uncertainty of the
        graders' matrices and of the fraction of lenses.
    matrices
        Mean confusion matrices, (G, 2, 4): non-lens and lens, grades A to D.
    """

    p: np.ndarray
    low: np.ndarray
    high: np.ndarray
    matrices: np.ndarray


def weigh_votes(
    votes: Votes,
    n_graders: int,
    log_odds: ArrayLike,
    is_control: ArrayLike,
    fraction: float = 0.1,
    draws: int = 600,
    seed: int = 0,
) -> WeighedVotes:
    """Estimate the probability of a lens for each image, and the graders' confusion matrices.

    Parameters
    ----------
    log_odds
        Logarithm of the odds of a lens for each of N images as far as known without votes, such as
        by a calibrated network; up to a constant, which is estimated. Zeros if nothing is known.
    is_control
        Whether each image is known to be a lens. It says more of the graders than others do; its
        own probability is estimated as if it were not known.
    fraction
        Expected fraction of lenses among the images before any vote; the estimate may well be
        seven times smaller or larger.
    draws
        Number of draws from the posterior; a third of them more are discarded first.

    Notes
    -----
    Each draw consists of the graders' matrices, with a Dirichlet prior of `PRIOR_VOTES`; the
    constant of the log odds, with a normal prior, in normal approximation; and the truth of each
    image that has votes. The probability of an image is the mean of its probabilities given the
    draws of all else, with the evidence of its votes divided by 1 + (n - 1) r for n votes whose
    evidence has the correlation r on control lenses.
    """
    log_odds, is_control = np.asarray(log_odds, float), np.asarray(is_control, bool)
    n = len(log_odds)
    rng = np.random.default_rng(seed)
    candidates = log_odds[~is_control] if (~is_control).any() else log_odds
    centre = _shift_for_fraction(candidates, fraction) if n else 0.0
    has_votes = np.bincount(votes.image, minlength=n) > 0
    ordinary = has_votes & ~is_control
    cells = votes.grader * 8 + votes.grade
    n_votes = np.bincount(votes.image, votes.weight, minlength=n)
    # Begins with the images whose mean grade is nearer to B than to C.
    grades = np.bincount(votes.image, votes.grade * votes.weight, minlength=n)
    is_lens = is_control | (has_votes & (grades < 1.5 * n_votes))
    shift, total = centre, np.zeros((n_graders, 2, 4))
    probabilities = np.empty((draws, n), np.float32)
    for draw in range(-(draws // 3), draws):
        shift = _draw_shift(shift, is_lens[ordinary], log_odds[ordinary], centre, rng)
        counts = np.bincount(
            cells + 4 * is_lens[votes.image], votes.weight, minlength=8 * n_graders
        )
        gamma = rng.standard_gamma(PRIOR_VOTES + counts.reshape(n_graders, 2, 4))
        # Of the smallest shapes a draw may be zero.
        gamma = np.maximum(gamma, 1e-12)
        matrices = gamma / gamma.sum(axis=2, keepdims=True)
        ratios = np.log(matrices[:, 1] / matrices[:, 0])
        evidence = ratios[votes.grader, votes.grade] * votes.weight
        evidence = np.bincount(votes.image, evidence, minlength=n)
        p = expit(shift + log_odds + evidence)
        if draw >= 0:
            correlation = _correlation_on_controls(votes, matrices, is_control)
            factor = 1 + np.maximum(n_votes - 1, 0) * correlation
            probabilities[draw] = _discount(shift + log_odds, evidence, factor, ordinary, p)
            total += matrices
        is_lens = is_control | (rng.random(n) < p)
    low, high = np.quantile(probabilities, _INTERVAL, axis=0)
    p = probabilities.mean(axis=0, dtype=np.float64)
    return WeighedVotes(p, low.astype(float), high.astype(float), total / draws)


def vote_information(p: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Information in bits that a grader's next vote is expected to add on each image.

    The mutual information of vote and truth: the entropy of the vote less its mean entropy once
    the truth is known (Cover & Thomas 2006, Elements of Information Theory, section 2.3).

    Parameters
    ----------
    p
        Probability of a lens, shape (N,).
    matrix
        The grader's confusion matrix, as in `WeighedVotes.matrices`.
    """
    p, matrix = np.asarray(p, float), np.asarray(matrix, float)
    truth = np.stack([1 - p, p], axis=1)
    return _entropy(truth @ matrix) - truth @ _entropy(matrix)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    return -(probabilities * np.log2(np.maximum(probabilities, 1e-300))).sum(axis=-1)


def _shift_for_fraction(log_odds: np.ndarray, fraction: float) -> float:
    """Constant that makes the mean probability of a lens the given fraction."""

    def excess(shift: float) -> float:
        return float(expit(shift + log_odds).mean() - fraction)

    bound = 50 + float(np.abs(log_odds).max())
    return float(brentq(excess, -bound, bound))


def _discount(
    log_odds: np.ndarray,
    evidence: np.ndarray,
    factor: np.ndarray,
    counts: np.ndarray,
    p: np.ndarray,
) -> np.ndarray:
    """Probabilities with the evidence divided by a factor, and the same expected number of lenses.

    `counts` says which images are counted, and `p` are the probabilities without the factor.
    """
    odds = log_odds + evidence / factor
    shift = 0.0
    for _ in range(_NEWTON_STEPS):
        q = expit(shift + odds[counts])
        slope = p[counts].sum() - q.sum()
        shift += float(np.clip(slope / max((q * (1 - q)).sum(), 1e-9), -1, 1))
    return expit(shift + odds)


def _correlation_on_controls(votes: Votes, matrices: np.ndarray, is_control: np.ndarray) -> float:
    """Correlation of the evidence of two graders' votes on the same control lens."""
    ratios = np.log(matrices[:, 1] / matrices[:, 0])
    mean = (matrices[:, 1] * ratios).sum(axis=1)
    width = np.sqrt((matrices[:, 1] * ratios**2).sum(axis=1) - mean**2)
    use = is_control[votes.image]
    image, grader, weight = votes.image[use], votes.grader[use], votes.weight[use]
    residual = (ratios[grader, votes.grade[use]] - mean[grader]) / np.maximum(width[grader], 1e-9)
    pairs, products = (
        (np.bincount(image, each) ** 2).sum() - (each**2).sum()
        for each in (weight, weight * residual)
    )
    return float(np.clip(products / (pairs + _PRIOR_PAIRS), 0, 1))


def _draw_shift(
    start: float,
    is_lens: np.ndarray,
    log_odds: np.ndarray,
    centre: float,
    rng: np.random.Generator,
) -> float:
    """Draw the constant of the log odds given the truth, in normal approximation at its mode."""
    precision = 1 / _LOG_ODDS_SD**2
    shift = start
    for _ in range(_NEWTON_STEPS):
        p = expit(shift + log_odds)
        curvature = precision + (p * (1 - p)).sum()
        slope = is_lens.sum() - p.sum() - precision * (shift - centre)
        shift += float(np.clip(slope / curvature, -1, 1))
    return float(rng.normal(shift, 1 / np.sqrt(curvature)))
