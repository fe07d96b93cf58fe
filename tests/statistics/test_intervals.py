"""Tests of intervals: closed forms, other implementations, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import beta, binomtest, norm, t

from lenspipe.statistics.intervals import (
    area_interval,
    binomial_interval,
    clustered_interval,
    estimate_fraction,
    format_percent,
    fraction_interval,
    named_interval,
    purity_at,
    purity_interval,
)
from lenspipe.statistics.metrics import (
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
    completeness_of_counts,
)


@pytest.mark.parametrize("total", [2, 3, 12, 200])
def test_binomial_interval_is_that_of_jeffreys_with_exact_ends(total):
    for count in range(total + 1):
        low, high = binomial_interval(count, total)
        jeffreys = beta.ppf([0.025, 0.975], count + 0.5, total - count + 0.5)
        exact = binomtest(count, total).proportion_ci()
        if count in (0, total):
            assert (low, high) == pytest.approx((exact.low, exact.high))
        else:
            assert low == pytest.approx(exact.low if count == 1 else jeffreys[0])
            assert high == pytest.approx(exact.high if count == total - 1 else jeffreys[1])


def test_no_count_has_one_limit():
    # The exact two-sided one, also of the files that quote it.
    assert binomial_interval(0, 306)[1] == pytest.approx(0.01198, abs=1e-5)
    assert estimate_fraction(0, 306) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 306)))
    assert fraction_interval(np.zeros(306, bool)) == estimate_fraction(0, 306)
    # A single one that counts, or does not, limits one side only.
    assert binomial_interval(1, 1) == pytest.approx((0.025, 1))
    assert binomial_interval(0, 1) == pytest.approx((0, 0.975))
    assert binomial_interval(0, 0) == (0, 1)
    assert estimate_fraction(0, 0) == (None, None, None)
    low, high = binomial_interval([0, 5, 10], 10)
    assert low[0] == 0 < low[1] < low[2]
    assert high[0] < high[1] < high[2] == 1


def test_the_rate_above_a_cut_among_the_scores_follows_beta():
    rng = np.random.default_rng(1)
    hits = {"placed": 0, "given": 0}
    for _ in range(2000):
        scores = rng.uniform(size=306)
        _, cut = completeness_at_fpr([], scores, 0.01)
        assert (scores > cut).sum() == 3
        for name, placed in (("placed", 1), ("given", 0)):
            _, low, high = fraction_interval(scores > cut, placed)
            hits[name] += low <= 1 - cut <= high
    assert 0.935 < hits["placed"] / 2000 < 0.965
    # Three of 306 pass because the cut was put there: as a plain fraction they mislead.
    assert hits["given"] < hits["placed"]
    _, low, high = estimate_fraction(3, 306, cuts_placed=1)
    assert (low, high) == pytest.approx((0.00357, 0.02838), abs=1e-5)


def test_rates_above_cuts_of_several_groups():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1500):
        truth, n_passed = 0.0, 0
        for n in (100, 250, 400):
            scores = rng.uniform(size=n)
            _, cut = completeness_at_fpr([], scores, 0.02)
            truth += n * (1 - cut) / 750
            n_passed += (scores > cut).sum()
        _, low, high = estimate_fraction(int(n_passed), 750, 3)
        hits += low <= truth <= high
    assert 0.93 < hits / 1500 < 0.97


@pytest.mark.parametrize(("n_lenses", "n_others", "rate"), [(161, 306, 0.01), (500, 3400, 1e-3)])
def test_purity_at_a_cut_that_was_placed_covers_the_truth(n_lenses, n_others, rate):
    rng = np.random.default_rng(3)
    hits, widths = 0, []
    for _ in range(1000):
        lenses, others = rng.normal(2.5, 1, n_lenses), rng.normal(size=n_others)
        _, cut = completeness_at_fpr(lenses, others, rate)
        rates = fraction_interval(lenses > cut), fraction_interval(others > cut, 1)
        _, low, high = purity_interval(*rates, 1e-3)
        hits += low <= purity_at(norm.sf(cut - 2.5), norm.sf(cut), 1e-3) <= high
        widths.append(high / low)
    assert 0.93 < hits / 1000 < 0.98
    assert np.median(widths) < 15


def test_purity_at_a_known_rate_follows_completeness():
    estimate = purity_interval((0.5, 0.4, 0.6), (0.01, 0.01, 0.01), 1e-3)
    assert estimate == pytest.approx([purity_at(c, 0.01, 1e-3) for c in (0.5, 0.4, 0.6)])
    assert purity_interval((None, None, None), (0.1, 0.1, 0.1), 1e-3) == (None, None, None)
    assert purity_interval((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), 1e-3)[1:] == (0, 0)


@pytest.mark.parametrize("fpr", [0.1, 0.01])
def test_counts_at_all_scores_are_as_good_as_the_scores(fpr):
    rng = np.random.default_rng(4)
    lenses, others = rng.normal(2.5, 1, 80), rng.normal(size=500)
    cuts = np.sort(np.concatenate([lenses, others]))
    counts = [(scores[:, None] >= cuts).sum(axis=0) for scores in (lenses, others)]
    _, *expected = completeness_at_true_rate(lenses, others, fpr)
    assert completeness_of_counts(*counts, 80, 500, fpr) == pytest.approx(tuple(expected))
    # Fewer thresholds say less.
    few = completeness_of_counts(*(count[::40] for count in counts), 80, 500, fpr)
    assert few[0] <= expected[0]
    assert few[1] >= expected[1]


def test_rows_that_are_alike_count_once():
    rng = np.random.default_rng(5)
    passes = np.repeat(rng.random(200) < 0.3, 6)
    groups, clusters = np.zeros(1200, int), np.repeat(np.arange(200), 6)
    alike = clustered_interval(passes, groups, clusters)
    assert np.ravel(alike) == pytest.approx(binomial_interval(passes.sum() / 6, 200), rel=0.01)
    apart = clustered_interval(passes, groups, np.arange(1200))
    assert np.ravel(apart) == pytest.approx(binomial_interval(passes.sum(), 1200))
    shuffled = clustered_interval(rng.permutation(passes), groups, clusters)
    assert shuffled[1] - shuffled[0] < 1.3 * (apart[1] - apart[0])
    # None that passes in a galaxy or apart: no correlation to speak of, and no division by 0.
    none = clustered_interval(np.zeros(1200, bool), groups, clusters)
    assert np.ravel(none) == pytest.approx(binomial_interval(0, 1200))
    # Two lenses of one galaxy cannot say by how much lenses of a galaxy are alike.
    assert np.ravel(clustered_interval([1, 1], [0, 0], [7, 7])) == pytest.approx([0.025, 1])


def test_rows_that_are_somewhat_alike_count_in_part():
    """Analysis of variance by hand: 20 clusters of 5, of which 4 or 1 pass."""
    clusters = np.repeat(np.arange(20), 5)
    passes = np.tile([1, 1, 1, 1, 0, 1, 0, 0, 0, 0], 10) > 0
    low, high = clustered_interval(passes, np.zeros(100, int), clusters)
    between, within = 20 * 5 * 0.3**2 / 19, 20 * 5 * 0.8 * 0.2 / 80
    correlation = (between - within) / (between + 4 * within)
    effect = 1 + 4 * correlation
    expected = binomial_interval(50 / effect, 100 / effect)
    assert (low[0], high[0]) == pytest.approx(expected)


def test_purity_is_that_of_bayes():
    # Of 1,000 galaxies 200 are lenses, of which 100 pass, as 40 of the 800 others do.
    assert purity_at(0.5, 0.05, 0.2) == pytest.approx(100 / 140)


def test_what_was_not_measured_has_no_interval():
    assert purity_interval((0.5, 0.4, 0.6), (None, None, None), 0.1) == (None, None, None)
    for lacking in ("p", "p_low", "p_high"):
        record = {"p": 0.5, "p_low": 0.4, "p_high": 0.6} | {lacking: None}
        assert named_interval(record, "p") == (None, None, None)
        assert format_percent(record, "p") == "not measured"
    assert format_percent({"p": 0.5, "p_low": 0.4, "p_high": 0.6}, "p") == "50 % (95 %: 40 to 60)"


def test_an_area_without_error_or_at_its_end_is_that_of_a_fraction():
    assert area_interval(0.75, 0.0, 8) == pytest.approx((0.75, *binomial_interval(6, 8)))
    assert area_interval(1.0, 0.1, 8) == pytest.approx((1, *binomial_interval(8, 8)))


def test_purity_where_nothing_passes_is_not_known():
    assert np.isnan(purity_at(0.0, 0.0, 0.01))
    purity = purity_at([0.5, 0.0, 0.0], [0.0, 0.1, 0.0], 0.01)
    assert purity[:2].tolist() == [1, 0]
    assert np.isnan(purity[2])


def test_area_has_the_variance_of_delong():
    rng = np.random.default_rng(6)
    lenses, others = rng.normal(1.5, 1, 40), rng.normal(size=70)
    area, low, high = auc_interval(lenses, others)
    areas = [auc_interval(rng.choice(lenses, 40), rng.choice(others, 70))[0] for _ in range(2000)]
    assert low < area < high
    half = (high - low) / 2
    assert half == pytest.approx(1.96 * np.std(areas), rel=0.15)
    # Galaxies that repeat others of their brick add nothing.
    bricks = np.arange(110) % 22
    groups = bricks[:40], bricks[40:]
    once = auc_interval(lenses, others, groups)
    repeated = [np.tile(values, 5) for values in (lenses, others, *groups)]
    five_times = auc_interval(*repeated[:2], tuple(repeated[2:]))
    assert five_times == pytest.approx(once, abs=1e-9)
    unaware = auc_interval(*repeated[:2])
    assert unaware[2] - unaware[1] < 0.6 * (five_times[2] - five_times[1])


def test_area_of_classes_that_do_not_overlap_is_not_certain():
    area, low, high = auc_interval(np.linspace(2, 3, 20), np.linspace(0, 1, 500))
    assert (area, high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / 20))
    assert auc_interval([], [1.0]) == (None, None, None)


@pytest.mark.parametrize("n_groups", [12, 50])
def test_area_by_groups_has_the_variance_of_their_sums(n_groups):
    # Of 60 lenses and 40 non-lenses; 60 % 40 is below 50.
    rng = np.random.default_rng(5)
    lenses, others = rng.normal(1, 1, 60), rng.normal(size=40)
    of_lenses, of_others = np.arange(60) % n_groups, np.arange(40) % n_groups
    area, low, high = auc_interval(lenses, others, (of_lenses, of_others))
    wins = lenses[:, None] > others
    assert area == pytest.approx(wins.mean())
    sums = [
        (wins.mean(axis=1) - area)[of_lenses == group].sum() / 60
        + (wins.mean(axis=0) - area)[of_others == group].sum() / 40
        for group in range(n_groups)
    ]
    error = np.sqrt(np.square(sums).sum() * n_groups / (n_groups - 1))
    half = t.ppf(0.975, n_groups - 1) * error / (area * (1 - area))
    assert (low, high) == pytest.approx(tuple(expit(logit(area) + np.array([-half, half]))))
