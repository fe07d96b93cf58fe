"""Tests of metrics: other implementations, closed forms, and coverage of intervals."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from lenspipe.statistics.intervals import binomial_interval, purity_at
from lenspipe.statistics.metrics import (
    PROPERTY_BINS,
    auc,
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
    cross_entropy,
    expected_calibration_error,
    precision_recall,
    reliability,
    roc_curve,
)

# Few values, so that ties are common.
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=60)


def pooled(lenses, others):
    return np.r_[np.ones(len(lenses)), np.zeros(len(others))], np.r_[lenses, others]


@given(SCORES, SCORES)
def test_auc_agrees_with_scikit_learn(lenses, others):
    assert auc(lenses, others) == pytest.approx(roc_auc_score(*pooled(lenses, others)))


@given(SCORES, SCORES)
def test_roc_curve_agrees_with_scikit_learn(lenses, others):
    expected = sklearn_roc_curve(*pooled(lenses, others), drop_intermediate=False)
    for ours, theirs in zip(roc_curve(lenses, others), expected, strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(SCORES, SCORES)
def test_precision_recall_agrees_with_scikit_learn(lenses, others):
    purity, completeness, _ = precision_recall_curve(*pooled(lenses, others))
    # Theirs go the other way, and end with an invented point.
    ours = precision_recall(lenses, others)
    np.testing.assert_allclose(ours[0], completeness[-2::-1], atol=1e-12)
    np.testing.assert_allclose(ours[1], purity[-2::-1], atol=1e-12)


@given(SCORES, SCORES, st.sampled_from([0.5, 0.1, 0.05, 0.3]))
def test_completeness_is_the_best_point_of_the_roc_curve(lenses, others, fpr):
    completeness, cut = completeness_at_fpr(lenses, others, fpr)
    if len(others) * fpr < 1 - 1e-9:
        assert completeness is None
        assert completeness_at_true_rate(lenses, others, fpr) == (None, None, None)
        return
    rates, parts, _ = sklearn_roc_curve(*pooled(lenses, others), drop_intermediate=False)
    assert completeness == pytest.approx(parts[rates <= fpr + 1e-9].max())
    assert np.mean(np.array(others) > cut) <= fpr + 1e-9


def test_closed_form_of_two_gaussians():
    # Quantiles stand for draws, so that nothing is left to chance.
    even = (np.arange(20000) + 0.5) / 20000
    others, lenses = norm.ppf(even), norm.ppf(even) + 2
    assert auc(lenses, others) == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=1e-6)
    for fpr in (0.1, 0.01, 0.001):
        true = norm.sf(norm.isf(fpr) - 2)
        assert completeness_at_fpr(lenses, others, fpr)[0] == pytest.approx(true, abs=0.006)
        _, low, high = completeness_at_true_rate(lenses, others, fpr)
        assert low < true < high


def test_with_a_known_cut_the_interval_is_that_of_jeffreys():
    # Non-lenses are either far below or far above all lenses but ten: the cut counts the same.
    lenses = np.r_[np.full(30, 0.5), np.full(10, 0.1)]
    others = np.r_[np.full(5000, 0.9), np.full(5000, 0.2)]
    _, low, high = completeness_at_true_rate(lenses, np.where(others == 0.9, 0.4, others), 0.75)
    expected = beta.ppf([0.025, 0.975], 30.5, 10.5)
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-6)


def test_without_a_non_lens_above_the_cut_nothing_is_known_from_below():
    # One of 100 is expected above the true cut; in 37 % of all samples there is none.
    _, low, high = completeness_at_true_rate(np.linspace(2, 3, 50), np.linspace(0, 1, 100), 0.01)
    assert low < 1e-3
    assert high == 1


@pytest.mark.parametrize("found", [0, 1])
def test_interval_reaches_to_the_end_where_none_or_all_are_found(found):
    others = np.linspace(0.4, 0.6, 1000)
    _, *ends = completeness_at_true_rate(np.full(40, float(found)), others, 0.1)
    assert ends[found] == found
    assert 0.85 < 1 - abs(ends[1 - found] - ends[found]) < 1


COVERAGE = [(30, 200, 0.05), (165, 409, 0.01), (100, 1000, 0.01), (100, 5000, 1e-3), (20, 400, 0.1)]


@pytest.mark.parametrize(("n_lenses", "n_others", "fpr"), COVERAGE)
def test_interval_of_completeness_covers_the_truth(n_lenses, n_others, fpr):
    rng = np.random.default_rng(7)
    true = norm.sf(norm.isf(fpr) - 2.5)
    ends = np.array(
        [
            completeness_at_true_rate(rng.normal(2.5, 1, n_lenses), rng.normal(size=n_others), fpr)[
                1:
            ]
            for _ in range(600)
        ]
    )
    covers = (ends[:, 0] <= true) & (true <= ends[:, 1])
    # 0.95 less two standard deviations of 600 draws. Intervals are wider than with a known cut,
    # for which 95 % need 2 x 1.96 standard deviations of a binomial fraction, at most threefold.
    assert covers.mean() > 0.93
    width = np.diff(ends).mean()
    assert width < 3 * 3.92 * np.sqrt(true * (1 - true) / n_lenses)


def test_interval_that_takes_the_cut_for_known_does_not_cover():
    # Why `completeness_at_true_rate` is not a plain fraction: that covers 64 % here.
    rng = np.random.default_rng(8)
    true, n = norm.sf(norm.isf(0.01) - 2.5), 1000
    hits = []
    for _ in range(300):
        lenses, others = rng.normal(2.5, 1, n), rng.normal(size=3 * n)
        _, cut = completeness_at_fpr(lenses, others, 0.01)
        low, high = binomial_interval((lenses > cut).sum(), n)
        hits.append(low <= true <= high)
    assert np.mean(hits) < 0.8


@pytest.mark.parametrize(("part", "total"), [(0.5, 20), (0.9, 50), (0.05, 200), (0.01, 1000)])
def test_binomial_interval_covers_the_truth(part, total):
    # It covers 95 % on average over fractions, and somewhat more or less at each.
    rng = np.random.default_rng(9)
    parts = part * rng.uniform(0.5, 1.1, 2000)
    low, high = binomial_interval(rng.binomial(total, parts), total)
    assert 0.935 < np.mean((low <= parts) & (parts <= high)) < 0.985


def test_interval_of_many_galaxies_is_fast():
    rng = np.random.default_rng(0)
    lenses, others = rng.normal(2, 1, 5000), rng.normal(size=1_000_000)
    start = time.monotonic()
    _, low, high = completeness_at_true_rate(lenses, others, 0.1)
    assert time.monotonic() - start < 3
    assert high - low < 0.03


def test_purity_follows_bayes():
    # 10,000 galaxies with one lens: half a lens and 99.99 others pass.
    assert purity_at(0.5, 0.01, 1e-4) == pytest.approx(0.5 / (0.5 + 99.99))
    assert purity_at(0.5, 0, 1e-4) == 1
    np.testing.assert_array_equal(purity_at([0, 1], [0, 0], 0.1), [np.nan, 1])


def test_reliability_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    p = np.r_[rng.uniform(size=500), 0, 0.2, 1]
    label = (rng.uniform(size=len(p)) < p**2).astype(int)
    found = reliability(label, p, 10)
    lenses, means = calibration_curve(label, p, n_bins=10)
    assert [bin_["lenses"] for bin_ in found] == pytest.approx(lenses.tolist())
    assert [bin_["p"] for bin_ in found] == pytest.approx(means.tolist())
    assert sum(bin_["n"] for bin_ in found) == len(p)
    assert all(bin_["low"] <= bin_["lenses"] <= bin_["high"] for bin_ in found)


def test_calibration_error_by_hand():
    # Ten at 0.9 of which five are lenses, thirty at 0.1 of which none is.
    p = np.r_[np.full(10, 0.9), np.full(30, 0.1)]
    label = np.r_[np.ones(5), np.zeros(35)]
    assert expected_calibration_error(label, p, 5) == pytest.approx((10 * 0.4 + 30 * 0.1) / 40)
    assert expected_calibration_error([], [], 5) is None


def test_cross_entropy_agrees_with_scikit_learn():
    label, p = [1, 0, 0, 1, 0], [0.9, 0.2, 0.6, 0.3, 0.01]
    assert cross_entropy(np.array(label), np.array(p)) == pytest.approx(log_loss(label, p))


def test_bins_of_properties_ascend_and_leave_nothing_out():
    for edges in PROPERTY_BINS.values():
        assert (np.diff(edges) > 0).all()
        assert (edges[0], edges[-1]) == (0, np.inf)


def test_bins_of_equal_numbers_end_where_many_scores_do():
    p = np.array([0.0] * 5 + [0.4, 0.5] + [1.0] * 5)
    rows = reliability(p > 0.3, p, 4, equal_numbers=True)
    assert [(row["from"], row["to"], row["n"]) for row in rows] == [
        (0, 0.4, 6), (0.4, 1, 6)
    ]  # fmt: skip


def test_a_rate_of_one_has_the_lowest_cut():
    assert completeness_at_fpr([0.1, 0.5, 0.9], [0.4, 0.2], 1.0) == (2 / 3, 0.2)


def test_few_bricks_do_not_say_how_much_they_scatter():
    rng = np.random.default_rng(8)
    lenses, others = rng.normal(1, 1, 60), rng.normal(size=40)
    few = np.arange(60) % 9, np.arange(40) % 9
    assert auc_interval(lenses, others, few) == auc_interval(lenses, others)
