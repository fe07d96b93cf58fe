"""Votes weighted by the graders' skill."""

import itertools

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import expit, gammaln, logit
from scipy.stats import norm

from lenspipe.statistics.votes import (
    PRIOR_VOTES,
    Votes,
    _correlation_on_controls,
    vote_information,
    weigh_votes,
)

GOOD = np.array([[0.01, 0.04, 0.15, 0.80], [0.50, 0.30, 0.15, 0.05]])
POOR = np.array([[0.15, 0.20, 0.25, 0.40], [0.25, 0.25, 0.25, 0.25]])


def make_votes(image, grader, grade):
    image, grader, grade = (np.asarray(values, int) for values in (image, grader, grade))
    return Votes(image, grader, grade, np.ones(len(image)))


def simulate(n, matrices, seed=0, fraction=0.2):
    """All graders grade all of n images."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < fraction).astype(int)
    image = np.repeat(np.arange(n), len(matrices))
    grader = np.tile(np.arange(len(matrices)), n)
    cumulative = np.cumsum(np.asarray(matrices), axis=2)[grader, truth[image]]
    grade = (rng.random((len(image), 1)) > cumulative[:, :3]).sum(axis=1)
    return truth, make_votes(image, grader, grade)


def exact(votes, n, fraction, log_odds):
    """Posterior by summing over all truths and integrating over matrices and odds."""
    grid = np.linspace(-10, 10, 401)
    centre = logit(fraction)
    weight = norm.pdf(grid, centre, 2)
    total, lens = 0.0, np.zeros(n)
    for truth in itertools.product((0, 1), repeat=n):
        z = np.array(truth)
        counts = np.zeros((votes.grader.max() + 1, 2, 4))
        np.add.at(counts, (votes.grader, z[votes.image], votes.grade), 1)
        alpha = PRIOR_VOTES + counts
        log_evidence = (
            gammaln(alpha).sum() - gammaln(alpha.sum(axis=2)).sum()
            - len(counts) * (gammaln(PRIOR_VOTES).sum() - gammaln(PRIOR_VOTES.sum(axis=1)).sum())
        )  # fmt: skip
        p = expit(grid[:, None] + log_odds)
        prior = np.where(z == 1, p, 1 - p).prod(axis=1) @ weight
        joint = np.exp(log_evidence) * prior
        total += joint
        lens += joint * z
    return lens / total


def test_draws_agree_with_the_sum_over_all_truths():
    # Three graders; the third disagrees with the others.
    grades = [[0, 1, 3], [0, 0, 2], [3, 3, 0], [3, 2, 3], [3, 3, 1]]
    votes = make_votes(np.repeat(range(5), 3), np.tile(range(3), 5), np.ravel(grades))
    log_odds = np.zeros(5)
    result = weigh_votes(votes, 3, log_odds, np.zeros(5, bool), fraction=0.3, draws=6000)
    # The normal approximation of the odds is that of five images, the worst case.
    np.testing.assert_allclose(result.p, exact(votes, 5, 0.3, log_odds), atol=0.03)


def test_with_known_matrices_it_is_the_rule_of_bayes():
    # 4,000 control lenses and as many clear non-lenses fix the matrix of a single grader.
    rng = np.random.default_rng(1)
    n = 4000
    matrix = np.array([[0.0025, 0.0175, 0.18, 0.80], [0.50, 0.30, 0.15, 0.05]])
    controls = rng.choice(4, n, p=matrix[1])
    others = rng.choice(4, n, p=matrix[0])
    grades = np.concatenate([controls, others, [0, 2, 3]])
    log_odds = np.concatenate([np.zeros(n), np.full(n, -12.0), np.zeros(3)])
    is_control = np.arange(2 * n + 3) < n
    votes = make_votes(np.arange(2 * n + 3), np.zeros(2 * n + 3), grades)
    result = weigh_votes(votes, 1, log_odds, is_control, draws=300)
    np.testing.assert_allclose(result.matrices[0], matrix, atol=0.02)
    m = result.matrices[0]
    # All three have the same odds before the vote: their odds differ by the ratio of columns.
    odds = result.p[-3:] / (1 - result.p[-3:])
    ratio = m[1] / m[0]
    assert odds[1] / odds[2] == pytest.approx(ratio[2] / ratio[3], rel=0.15)


def test_a_poor_grader_counts_less():
    truth, votes = simulate(400, [GOOD, GOOD, POOR])
    result = weigh_votes(votes, 3, np.zeros(400), np.zeros(400, bool))
    for grader in (0, 2):
        given = votes.grade[votes.grader == grader]
        by_truth = [
            np.bincount(given[truth == z], minlength=4) / (truth == z).sum() for z in (0, 1)
        ]
        np.testing.assert_allclose(result.matrices[grader], by_truth, atol=0.1)
    points = 3 - votes.grade.reshape(400, 3)
    mean = points.mean(axis=1) / 3
    assert np.mean((result.p - truth) ** 2) < 0.5 * np.mean((mean - truth) ** 2)
    # A poor grader's lone A says less than a good one's.
    assert (result.low <= result.p).all()
    assert (result.p <= result.high).all()


def test_the_networks_odds_multiply():
    truth, votes = simulate(300, [GOOD])
    log_odds = np.where(truth == 1, 1.0, -1.0)
    without = weigh_votes(votes, 1, np.zeros(300), np.zeros(300, bool))
    joined = weigh_votes(votes, 1, log_odds, np.zeros(300, bool))
    assert np.mean((joined.p - truth) ** 2) < np.mean((without.p - truth) ** 2)
    # A constant in the odds is estimated, not believed.
    moved = weigh_votes(votes, 1, log_odds + 5, np.zeros(300, bool))
    np.testing.assert_allclose(moved.p, joined.p, atol=1e-6)


def test_without_votes_the_prior_remains():
    result = weigh_votes(make_votes([], [], []), 0, np.zeros(4), np.zeros(4, bool), draws=4000)
    # The mean of expit over a normal distribution of width 2 about logit(0.1).
    x = np.linspace(-12, 12, 4001)
    expected = trapezoid(expit(logit(0.1) + 2 * x) * norm.pdf(x), x)
    np.testing.assert_allclose(result.p, expected, atol=0.01)
    assert (result.low < 0.01).all()
    assert (result.high > 0.8).all()


def test_errors_in_common_count_less():
    """Half of the variance of the graders' impressions is common to all of them."""
    rng = np.random.default_rng(4)
    n, n_graders = 400, 6
    is_control = np.arange(n) >= 360
    truth = (rng.random(n) < 0.2) | is_control
    common = rng.standard_normal((n, 1)) / np.sqrt(2)
    own = rng.standard_normal((n, n_graders)) / np.sqrt(2)
    impression = np.where(truth, 1.0, -1.0)[:, None] + common + own
    grade = 3 - (impression[:, :, None] > [0, 0.7, 1.4]).sum(axis=2)
    image, grader = np.repeat(np.arange(n), n_graders), np.tile(np.arange(n_graders), n)
    votes = make_votes(image, grader, grade.ravel())
    briers = []
    for controls in (is_control, np.zeros(n, bool)):
        # Without controls nothing tells that these votes are not independent.
        result = weigh_votes(votes, n_graders, np.zeros(n), controls, draws=150)
        p = result.p[:360]
        log_loss = -np.log(np.maximum(np.where(truth[:360], p, 1 - p), 1e-12)).mean()
        briers.append((np.mean((p - truth[:360]) ** 2), log_loss))
    (brier, loss), (brier_alone, loss_alone) = briers
    assert brier < 0.95 * brier_alone
    assert loss < 0.6 * loss_alone


def test_correlation_of_votes_on_control_lenses():
    """By hand: all of two graders' votes on ten of thirty images err in the same direction."""
    matrix = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.1, 0.4]])
    ratio = np.log(matrix[1] / matrix[0])
    mean, square = matrix[1] @ ratio, matrix[1] @ ratio**2
    deviation = (ratio - mean) / np.sqrt(square - mean**2)
    image, grader = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    votes = make_votes(image, grader, np.where(image < 20, 0, 1))
    given = votes, np.stack([matrix, matrix]), np.arange(30) < 10
    # Ten pairs of votes, each counted from both ends, and 200 without correlation.
    assert _correlation_on_controls(*given) == pytest.approx(20 * deviation[0] ** 2 / (20 + 200))
    none = *given[:2], np.zeros(30, bool)
    assert _correlation_on_controls(*none) == 0


def test_information_of_a_vote():
    perfect = np.array([[0, 0, 0, 1.0], [1.0, 0, 0, 0]])
    np.testing.assert_allclose(
        vote_information([0, 0.5, 0.11], perfect), [0, 1, 0.499916], atol=1e-6
    )
    useless = np.full((2, 4), 0.25)
    np.testing.assert_allclose(vote_information([0.1, 0.5], useless), 0, atol=1e-12)
    # A binary symmetric channel of 10 % errors has a capacity of 0.531 bits.
    channel = np.array([[0, 0, 0.1, 0.9], [0, 0, 0.9, 0.1]])
    assert vote_information([0.5], channel)[0] == pytest.approx(0.5310044, abs=1e-6)
