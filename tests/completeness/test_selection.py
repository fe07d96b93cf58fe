"""Tests of the selection function: against known chances, its file, cells and command."""

import json

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from scipy.special import expit
from scipy.stats import binom, t

from lenspipe.cli.main import main
from lenspipe.completeness import measure
from lenspipe.completeness.cells import cell_edges, measure_cells
from lenspipe.completeness.fitting import Fit, clustered_covariance, fit_logistic
from lenspipe.completeness.plots import describe_realism, plot_completeness, plot_prediction
from lenspipe.completeness.prediction import compare_planted, read_planted_lenses
from lenspipe.completeness.quantities import (
    VISIBLE,
    read_quantities,
    selection_quantities,
    user_quantities,
)
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.completeness.splines import uniform_spline
from lenspipe.config.flags import FLAGS
from lenspipe.config.settings import load_settings
from lenspipe.products.candidates import read_cuts
from lenspipe.statistics.balance import quantity_values
from lenspipe.statistics.intervals import binomial_interval
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.user_tables import read_user_table

QUANTITIES = selection_quantities("grz")
BINS = {"theta_e": 4, "brightness": 5, "seeing": 2, "depth": 2, "mag": 2}
#: Of 50 intervals of 95 %, fewer than this hold the truth in one of 10,000 cases.
MIN_INSIDE = int(binom.ppf(1e-4, 50, 0.95))


def injected(rng, number, bricks=12):
    """Lenses as injected: uniform in brightness and radius, some without visible arcs."""
    return pd.DataFrame(
        {
            "theta_e_arcsec": rng.uniform(0.5, 3.5, number),
            "arc_snr": 10 ** rng.uniform(-0.5, 2.3, number) * (rng.random(number) > 0.2),
            "arc_mag_g": rng.uniform(20, 25, number),
            "psfsize_g": rng.normal(1.5, 0.15, number),
            "galdepth_g": 10 ** rng.normal(3.0, 0.15, number),
            "mag_z": rng.uniform(17, 20, number),
            "brick": rng.integers(0, bricks, number).astype(str),
        }
    )


def planted(rng, number):
    """Another population: brighter arcs, radii as of published lenses."""
    table = injected(rng, number)
    table["theta_e_arcsec"] = 10 ** rng.normal(0.25, 0.12, number).clip(-0.29, 0.53)
    table["arc_snr"] = 10 ** rng.normal(1.3, 0.3, number)
    return table


def logit_of(table):
    """Logit of the probability of being found."""
    bright = np.log10(1 + table["arc_snr"]) - 1.1
    wide = np.log10(table["theta_e_arcsec"]) - 0.1
    depth = quantity_values(table, "depth", "g", 22.5) - 24.4
    sharp = 1.5 - table["psfsize_g"]
    return (
        0.3 + 5 * bright + 7 * wide - 9 * wide**2 + 5 * bright * wide
        + depth + (2 + 2 * bright) * sharp - 0.5 * (table["mag_z"] - 18.5)
    )  # fmt: skip


def probability(table):
    """Probability of being found: never quite 0 or 1."""
    return 0.01 + 0.97 * expit(logit_of(table))


def searched(rng, table):
    return table.assign(found=rng.random(len(table)) < probability(table))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    return searched(rng, injected(rng, 3000))


@pytest.fixture(scope="module")
def function(table):
    meta = {"run": "demo", "threshold": 0.9, "model": "0123456789abcdef"}
    return SelectionFunction.fit(table, QUANTITIES, 22.5, meta=meta)


def test_completeness_and_its_interval_agree_with_the_truth(function):
    other = injected(np.random.default_rng(4), 2000)
    result = function.completeness(other)
    true = probability(other)
    assert np.sqrt(np.mean((result["completeness"] - true) ** 2)) < 0.05
    # Pointwise intervals of a smooth function cover as much on average (Nychka 1988).
    assert result["low"].le(true).mul(result["high"].ge(true)).mean() > 0.85
    assert (result["low"] <= result["completeness"]).all()
    assert (result["completeness"] <= result["high"]).all()
    narrow = function.completeness(other, level=0.5)
    assert (narrow["high"] - narrow["low"] < result["high"] - result["low"]).all()


def test_the_sum_over_injected_lenses_is_the_number_found(function, table):
    total = function.completeness(table)["completeness"].sum()
    # But for half a lens that is added and weak priors.
    assert total == pytest.approx(table["found"].sum(), abs=3)


def test_intervals_of_fifty_searches_contain_the_number_found():
    totals = bins = n_bins = 0
    for seed in range(50):
        rng = np.random.default_rng([7, seed])
        function = SelectionFunction.fit(searched(rng, injected(rng, 800)), QUANTITIES, 22.5)
        result = compare_planted(function, searched(rng, planted(rng, 150)))
        totals += result["inside"]
        bins += result["n_bins_inside"]
        n_bins += result["n_bins"]
    assert totals >= MIN_INSIDE
    assert n_bins == 300
    # Bins of a search share its function, so their number scatters more than a binomial's.
    assert bins >= 0.90 * n_bins


def test_a_wrong_function_is_recognised(function):
    rng = np.random.default_rng(5)
    lenses = planted(rng, 300)
    lenses["found"] = rng.random(300) < expit(logit_of(lenses) - 1.5)
    result = compare_planted(function, lenses)
    assert not result["inside"]
    assert result["n_bins_inside"] < result["n_bins"]


def test_intervals_include_binomial_scatter(function):
    few = planted(np.random.default_rng(6), 40)
    row = function.predict_number(few).loc["all"]
    p = function.completeness(few)["completeness"]
    assert row["expected"] == pytest.approx(p.sum())
    assert row["high"] - row["low"] > 3 * np.sqrt((p * (1 - p)).sum())
    assert 0 <= row["low"] <= row["expected"] <= row["high"] <= 40


@pytest.mark.parametrize("mixed", [False, True])
def test_numbers_scatter_as_lenses_that_are_found_or_not(function, table, mixed):
    certain = SelectionFunction(**vars(function) | {"covariance": 0 * function.covariance})
    chance = certain.completeness(table)["completeness"].to_numpy()
    # All alike, or half of them found almost always and half almost never.
    likely = np.argsort(np.abs(chance - 0.8))[:1]
    rows = np.argsort(chance)[[*range(200, 300), *range(-300, -200)]] if mixed else likely
    lenses = table.iloc[rows if mixed else np.repeat(likely, 200)]
    lenses = lenses.drop(columns=["brick", "found"])
    p = certain.completeness(lenses)["completeness"].to_numpy()
    row = certain.predict_number(lenses).loc["all"]
    error = np.sqrt((p * (1 - p)).sum())
    assert row["expected"] == pytest.approx(p.sum())
    assert error < 0.6 * np.sqrt(p.sum())
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, abs=1.6)


def test_weights_are_expected_numbers(function):
    few = planted(np.random.default_rng(6), 40)
    one = function.predict_number(few)
    row = function.predict_number(few, weights=np.full(40, 25.0)).loc["all"]
    assert row["expected"] == pytest.approx(25 * one.loc["all", "expected"])
    assert row["n"] == 1000
    with pytest.raises(LenspipeError, match="weights below 0 or not finite"):
        function.predict_number(few, weights=np.full(40, -1.0))


def test_groups_add_up_and_are_in_order(function):
    few = planted(np.random.default_rng(6), 90)
    by = np.repeat(["c", "a", "b"], 30)
    rows = function.predict_number(few, by=by)
    assert rows.index.tolist() == ["all", "a", "b", "c"]
    assert rows["expected"].iloc[1:].sum() == pytest.approx(rows.loc["all", "expected"])
    alone = function.predict_number(few[by == "a"])
    assert alone.loc["all"].tolist() == pytest.approx(rows.loc["a"].tolist())


def test_the_same_table_gives_the_same_function(function, table):
    again = SelectionFunction.fit(table, QUANTITIES, 22.5)
    assert np.array_equal(again.coefficients, function.coefficients)
    pd.testing.assert_frame_equal(again.predict_number(table), function.predict_number(table))


def test_outside_the_range_the_nearest_end_is_used(function):
    rows = function.typical(3)
    rows["theta_e_arcsec"] = [3.4, 3.6, 8.0]
    rows.loc[1, "theta_e_arcsec"] = 10 ** function.splines["theta_e"].high
    result = function.completeness(rows)
    assert result["extrapolated"].tolist() == [False, False, True]
    assert result["completeness"][2] == pytest.approx(result["completeness"][1])


@pytest.mark.parametrize("found", [True, False])
def test_all_or_none_found(table, found):
    function = SelectionFunction.fit(table.assign(found=found), QUANTITIES, 22.5)
    row = function.predict_number(table[:300]).loc["all"]
    assert row["expected"] == pytest.approx(300 * found, abs=1)
    assert row["low"] <= 300 * found <= row["high"]
    result = function.completeness(table)
    assert np.isfinite(result.drop(columns="extrapolated")).all(axis=None)


def test_few_lenses_give_wide_intervals(table):
    function = SelectionFunction.fit(table[:20], QUANTITIES, 22.5)
    result = function.completeness(table[20:500])
    assert (result["high"] - result["low"]).median() > 0.2
    with pytest.raises(LenspipeError, match="found 19 lenses, expected a column found and at l"):
        SelectionFunction.fit(table[:19], QUANTITIES, 22.5)
    with pytest.raises(LenspipeError, match="found no column found, expected a column found"):
        SelectionFunction.fit(table.drop(columns="found"), QUANTITIES, 22.5)


@pytest.mark.parametrize("column", ["psfsize_g", "mag_z", "theta_e_arcsec", "arc_snr"])
def test_a_constant_quantity_is_left_out(table, column):
    function = SelectionFunction.fit(table.assign(**{column: 1.5}), QUANTITIES, 22.5)
    name = next(q.name for q in QUANTITIES if q.column == column)
    assert name not in function.splines
    total = function.completeness(table)["completeness"].sum()
    assert total == pytest.approx(table["found"].sum(), abs=3)


def test_with_constants_only_the_fraction_found_is_left(table):
    same = table[["found"]].assign(
        theta_e_arcsec=1.0, arc_snr=5.0, psfsize_g=1.3, depth_g=24.0, mag_z=18.0
    )
    function = SelectionFunction.fit(same, QUANTITIES, 22.5)
    k, n = int(table["found"].sum()), len(table)
    row = function.completeness(same[:1]).iloc[0]
    assert row["completeness"] == pytest.approx(k / n, abs=1e-3)
    assert [row["low"], row["high"]] == pytest.approx(binomial_interval(k, n), abs=2e-3)


def test_unknown_depths_are_the_median(table):
    unknown = table.copy()
    unknown.loc[::7, "galdepth_g"] = 0.0
    function = SelectionFunction.fit(unknown, QUANTITIES, 22.5)
    result = function.completeness(unknown)
    assert result["extrapolated"][::7].all()
    known = unknown[:1].drop(columns="galdepth_g").assign(depth_g=function.medians["depth"])
    expected = pytest.approx(result["completeness"][0], rel=1e-12)
    assert function.completeness(known)["completeness"][0] == expected
    nothing = SelectionFunction.fit(table.assign(galdepth_g=np.nan), QUANTITIES, 22.5)
    assert "depth" not in nothing.splines
    assert np.isfinite(nothing.completeness(table)["completeness"]).all()


def test_bad_columns_are_named(table):
    needed = "expected theta_e_arcsec, arc_snr, psfsize_g, depth_g or galdepth_g, mag_z for the"
    with pytest.raises(LenspipeError, match=f"mine: found no column arc_snr, {needed}"):
        read_quantities(table.drop(columns="arc_snr"), QUANTITIES, 22.5, "mine")
    with pytest.raises(LenspipeError, match=f"no column depth_g, {needed}.* NaN in psfsize_g, "):
        read_quantities(table.drop(columns="galdepth_g"), QUANTITIES, 22.5, "mine")
    bad = table.copy()
    bad.loc[[3, 8], "theta_e_arcsec"] = [-1.0, np.nan]
    with pytest.raises(LenspipeError, match=r"theta_e_arcsec -1\.0 in row 4 and 2 such rows"):
        read_quantities(bad, QUANTITIES, 22.5, "mine")


def test_arc_magnitude_in_place_of_signal_to_noise(table):
    quantities = selection_quantities("grz", "arc_mag")
    assert quantities[1].column == "arc_mag_g"
    function = SelectionFunction.fit(table, quantities, 22.5)
    cells = measure_cells(table, function, BINS)
    assert cells["brightness_low"].min() == table["arc_mag_g"].min()


def width(function, table):
    """Of the interval of the mean completeness of all."""
    row = function.mean_completeness(table, np.zeros(len(table), int)).loc[0]
    return row["high"] - row["low"]


def test_scatter_between_bricks_widens_the_interval():
    rng = np.random.default_rng(8)
    table = injected(rng, 4000, bricks=40)
    shift = table["brick"].map(dict(zip(map(str, range(40)), rng.normal(0, 1, 40), strict=True)))
    alike = table.assign(found=rng.random(4000) < expit(logit_of(table)))
    differ = table.assign(found=rng.random(4000) < expit(logit_of(table) + shift))
    even = SelectionFunction.fit(alike, QUANTITIES, 22.5)
    assert 0 < even.brick_variance < 0.1
    assert not even.brick_variance_measured
    function = SelectionFunction.fit(differ, QUANTITIES, 22.5)
    assert 0.3 < function.brick_variance < 1.5
    assert function.brick_variance_measured
    unaware = SelectionFunction.fit(differ.drop(columns="brick"), QUANTITIES, 22.5)
    assert width(function, table) > 1.5 * width(unaware, table)
    one_brick = table[:200].assign(brick="0")
    rows = [
        function.predict_number(t).loc["all"]
        for t in (one_brick, one_brick.assign(brick=range(200)))
    ]
    assert rows[0]["high"] - rows[0]["low"] > rows[1]["high"] - rows[1]["low"]


def test_the_scatter_of_few_bricks_is_an_upper_limit(tmp_path):
    rng = np.random.default_rng(8)
    table = injected(rng, 1500, bricks=3)
    shift = table["brick"].map(dict(zip("012", (-0.3, 0.1, 0.2), strict=True)))
    table["found"] = rng.random(1500) < expit(logit_of(table) + shift)
    few = SelectionFunction.fit(table, QUANTITIES, 22.5)
    assert not few.brick_variance_measured
    # Student's t of two degrees of freedom: a scatter as large as this cannot be excluded.
    assert 0.2 < few.brick_variance**0.5 <= 0.3
    unaware = SelectionFunction.fit(table.drop(columns="brick"), QUANTITIES, 22.5)
    assert unaware.brick_variance == 0
    assert width(few, table) > 1.2 * width(unaware, table)
    few.write(tmp_path / "function.fits")
    read = SelectionFunction.read(tmp_path / "function.fits", 22.5)
    assert (read.brick_variance, read.brick_variance_measured) == (few.brick_variance, False)
    one = SelectionFunction.fit(table.assign(brick="0"), QUANTITIES, 22.5)
    assert one.brick_variance == pytest.approx(0.3**2)


def test_lenses_on_one_galaxy_count_for_less():
    rng = np.random.default_rng(9)
    table = injected(rng, 3000).drop(columns="brick").assign(id=np.arange(3000) % 150)
    shift = rng.normal(0, 1.5, 150)[table["id"]]
    table["found"] = rng.random(3000) < expit(logit_of(table) + shift)
    fits_ = [SelectionFunction.fit(t, QUANTITIES, 22.5) for t in (table, table.drop(columns="id"))]
    assert width(fits_[0], table) > 1.1 * width(fits_[1], table)
    assert fits_[0].brick_variance == 0


LENS = np.arange(400)


@pytest.mark.parametrize(
    ("galaxies", "bricks", "found", "variance", "factor"),
    [
        # Bricks of ten lenses in as many galaxies, of which all or none are found.
        (LENS, LENS // 10, LENS // 10 % 2 == 0, 4.0, 1000),
        # The same of two galaxies each: they differ no more than their bricks.
        (LENS // 5, LENS // 10, LENS // 10 % 2 == 0, 4.0, 1000),
        # Galaxies of five lenses, each in a brick of its own.
        (LENS // 5, LENS // 5, LENS // 5 % 2 == 0, 0.0, 500),
    ],
)
def test_scatter_between_galaxies_and_bricks(galaxies, bricks, found, variance, factor):
    """By hand: with p = 1/2, products of residuals are +-1/4, of weights 1/16."""
    fit = Fit(np.zeros(1), np.full((1, 1), 0.1), [], np.ones(1), 0.0)
    result = clustered_covariance(np.ones((400, 1)), found, fit, galaxies, bricks)
    assert np.ravel(result[0])[0] == pytest.approx(variance)
    # The variance of a shift times the square of (covariance x sum of weights) of each brick.
    assert result[1][0, 0] == pytest.approx(0.1 + factor * 0.1**2)


def test_the_upper_limit_of_the_scatter_between_nine_bricks(caplog):
    """By hand, as above: sums of residuals of +-5 of a hundred lenses in each brick."""
    caplog.set_level("INFO")
    lens = np.arange(900)
    found = lens % 100 < np.where(lens // 100 % 2, 45, 55)
    fit = Fit(np.zeros(1), np.full((1, 1), 0.1), [], np.ones(1), 0.0)
    scatter, covariance = clustered_covariance(np.ones((900, 1)), found, fit, lens, lens // 100)
    observed, by_chance = 9 * 25 * 9 / 8, 900 / 4
    limit = (observed * (t.isf(0.025, 8) / 1.96) ** 2 - by_chance) / (9 * 25**2)
    assert scatter == (pytest.approx(limit, rel=1e-3), False)
    assert covariance[0, 0] == pytest.approx(0.1 + scatter.variance * 9 * 2.5**2)
    assert "0.00 between galaxies, below 0.15 between 9 bricks, which cannot be told" in caplog.text
    # Of bricks that differ, and galaxies that differ as much: roots of their variance of 4.
    caplog.clear()
    bricks = LENS // 10
    clustered_covariance(np.ones((400, 1)), bricks % 2 == 0, fit, LENS // 5, bricks)
    assert caplog.text.rstrip().endswith("2.00 between galaxies, 2.00 between 40 bricks")


def test_splines_are_cubic():
    spline = uniform_spline(1.0, 3.0, 7)
    x = np.linspace(1, 3, 50)
    basis = spline.basis(x)
    assert basis.shape == (50, spline.n_basis) == (50, 7)
    assert basis.sum(axis=1) == pytest.approx(1)
    # Any cubic is one of them, and no polynomial of higher degree.
    for power, is_spline in ((1, True), (2, True), (3, True), (4, False)):
        residual = np.linalg.lstsq(basis, x**power)[1]
        assert (residual < 1e-12).all() == is_spline
    assert spline.basis(np.array([0.0, 9.0])) == pytest.approx(spline.basis(np.array([1.0, 3.0])))


def test_evidence_chooses_smoothness():
    rng = np.random.default_rng(10)
    table = injected(rng, 3000)
    table["found"] = rng.random(3000) < 0.3
    flat = SelectionFunction.fit(table, QUANTITIES, 22.5)
    # Nothing depends on anything: few of a hundred coefficients are left free.
    assert flat.freedom.sum() < 15


def test_the_fit_is_the_maximum_of_the_posterior():
    rng = np.random.default_rng(11)
    design = np.column_stack([np.ones(400), rng.normal(size=(400, 3))])
    found = rng.random(400) < expit(design @ [0.3, 1.0, -1.0, 0.0])
    fit = fit_logistic(design, found, [(slice(1, 4), np.eye(3))])
    total = np.diag([0, *3 * [fit.smoothing[0] + 0.01]])
    target = (found + 0.5 / 400) / (1 + 1 / 400)

    def loss(beta):
        eta = design @ beta
        return (
            -(1 + 1 / 400) * (target @ eta - np.logaddexp(0, eta).sum()) + beta @ total @ beta / 2
        )

    steps = 1e-4 * np.eye(4)
    slopes = [(loss(fit.coefficients + s) - loss(fit.coefficients - s)) / 2e-4 for s in steps]
    assert slopes == pytest.approx(np.zeros(4), abs=1e-3)
    assert fit.coefficients[1:3] == pytest.approx([1, -1], abs=0.4)
    p = expit(design @ fit.coefficients)
    curvature = (design.T * ((1 + 1 / 400) * p * (1 - p))) @ design + total
    assert fit.covariance == pytest.approx(np.linalg.inv(curvature), rel=1e-4)
    # Laplace's approximation of the marginal likelihood, up to a constant.
    prior, posterior = (np.linalg.slogdet(m)[1] for m in (total[1:, 1:], curvature))
    evidence = -loss(fit.coefficients) + (prior - posterior) / 2
    assert fit.evidence == pytest.approx(evidence, rel=1e-6)
    assert fit.freedom == pytest.approx(1 - np.diag(np.linalg.inv(curvature) @ total), abs=1e-4)


def test_cells_count_injected_lenses(function, table):
    cells = measure_cells(table, function, BINS)
    assert len(cells) == 4 * 5 * 2 * 2 * 2
    assert cells["n_painted"].sum() == len(table)
    assert cells["n_found"].sum() == table["found"].sum()
    cell = cells.sort_values("n_painted").iloc[-1]
    depth = quantity_values(table, "depth", "g", 22.5)
    inside = np.ones(len(table), bool)
    for name, values in (
        ("theta_e", table["theta_e_arcsec"]),
        ("brightness", table["arc_snr"]),
        ("seeing", table["psfsize_g"]),
        ("depth", depth),
        ("mag", table["mag_z"]),
    ):
        low, high = cell[f"{name}_low"], cell[f"{name}_high"]
        inside &= (values >= low) & ((values < high) | (high == values.max()))
    assert inside.sum() == cell["n_painted"]
    k = int(table["found"][inside].sum())
    assert cell["n_found"] == k
    low, high = binomial_interval(k, int(inside.sum()))
    assert (cell["completeness_low"], cell["completeness_high"]) == (low, high)
    mean = function.completeness(table[inside])["completeness"].mean()
    assert cell["model"] == pytest.approx(mean)
    assert cell["model_low"] < mean < cell["model_high"]


def test_cells_count_galaxies_not_rows(function, table):
    # The same twenty galaxies three hundred times: what is found depends on the galaxy alone.
    rng = np.random.default_rng(3)
    host = np.arange(len(table)) % 20
    alike = table.assign(id=host, found=(rng.random(20) < 0.5)[host])
    bins = dict.fromkeys(BINS, 1)
    (cell,) = measure_cells(alike, function, bins).to_dict("records")
    k = round(20 * cell["completeness"])
    ends = cell["completeness_low"], cell["completeness_high"]
    assert ends == pytest.approx(binomial_interval(k, 20), abs=0.01)
    apart = alike.assign(found=rng.permutation(alike["found"]))
    (cell,) = measure_cells(apart, function, bins).to_dict("records")
    low, high = binomial_interval(apart["found"].sum(), len(table))
    assert cell["completeness_high"] - cell["completeness_low"] < 1.5 * (high - low)


def test_empty_cells_have_the_function_at_the_centre(function, table):
    bins = BINS | {"theta_e": [0.5, 1.0, 2.0], "mag": [15.0, 16.0, 20.0]}
    cells = measure_cells(table, function, bins)
    empty = cells[cells["mag_high"] == 16.0]
    assert (empty["n_painted"] == 0).all()
    assert empty[["completeness", "completeness_low", "completeness_high"]].isna().all(axis=None)
    row = empty.iloc[7]
    middle = pd.DataFrame(
        {
            q.column: q.unscaled([q.scaled([row[f"{q.name}_{e}"] for e in ("low", "high")]).mean()])
            for q in QUANTITIES
        }
    )
    assert row["model"] == pytest.approx(function.completeness(middle)["completeness"][0])
    assert cells["n_painted"].sum() == table["theta_e_arcsec"].between(0.5, 2.0).sum()


def test_edges():
    seeing = QUANTITIES[2]
    assert cell_edges([1.0, 2.0, 3.0, 4.0], seeing, 2).tolist() == [1.0, 2.5, 4.0]
    assert cell_edges([1.0, 1.0], seeing, 2).tolist() == [1.0, 1.0]
    assert np.isnan(cell_edges([np.nan], seeing, 2)).all()
    assert cell_edges([0.0, 99.0], QUANTITIES[1], 2) == pytest.approx([0, 9, 99])


def test_file_round_trip(function, table, tmp_path):
    cells = measure_cells(table, function, BINS)
    function.write(tmp_path / "one.fits", cells)
    read = SelectionFunction.read(tmp_path / "one.fits")
    assert read.meta == function.meta
    assert read.smoothing == function.smoothing
    pd.testing.assert_frame_equal(read.completeness(table), function.completeness(table))
    pd.testing.assert_frame_equal(read.predict_number(table), function.predict_number(table))
    read.write(tmp_path / "two.fits", cells)
    assert (tmp_path / "one.fits").read_bytes() == (tmp_path / "two.fits").read_bytes()
    with fits.open(tmp_path / "one.fits") as hdus:
        names = [hdu.name for hdu in hdus]
        assert hdus[0].header["RUN"] == "demo"
        assert hdus[0].header["THRESH"] == 0.9
        assert hdus[0].header["MODEL"] == "0123456789abcdef"
        assert "DATE" not in hdus[0].header
        described = hdus["CELLS"].header
        assert all(f"TCOMM{i}" in described for i in range(1, described["TFIELDS"] + 1))
    assert names == ["PRIMARY", "CELLS", "MODEL", "COEFFICIENTS", "SMOOTHING", "COVARIANCE"]
    opened = QTable.read(tmp_path / "one.fits", hdu="CELLS")
    assert opened["theta_e_low"].unit == u.arcsec
    assert opened["depth_high"].unit == u.mag
    assert opened["n_found"].sum() == table["found"].sum()


def test_file_round_trip_of_a_constant_function(table, tmp_path):
    same = table[["found"]].assign(
        theta_e_arcsec=1.0, arc_snr=5.0, psfsize_g=1.3, depth_g=np.nan, mag_z=18.0
    )
    function = SelectionFunction.fit(same, QUANTITIES, 22.5)
    function.write(tmp_path / "f.fits", measure_cells(same, function, BINS))
    read = SelectionFunction.read(tmp_path / "f.fits")
    pd.testing.assert_frame_equal(read.completeness(same), function.completeness(same))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(LenspipeError, match=r"none\.fits: can't be read as a selection function"):
        SelectionFunction.read(tmp_path / "none.fits")
    fits.PrimaryHDU().writeto(tmp_path / "bare.fits")
    with pytest.raises(LenspipeError, match=r"bare\.fits: can't be read as a selection function"):
        SelectionFunction.read(tmp_path / "bare.fits")


@pytest.mark.parametrize("suffix", ["csv", "fits", "parquet", "ecsv"])
def test_command(function, tmp_path, capsys, suffix):
    function.write(tmp_path / "f.fits")
    lenses = planted(np.random.default_rng(12), 60).assign(expected=0.5)
    path = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        lenses.to_csv(path, index=False)
    elif suffix == "parquet":
        lenses.to_parquet(path)
    else:
        columns = {name: lenses[name].to_numpy(str) if name == "brick" else lenses[name].to_numpy()
                   for name in lenses}  # fmt: skip
        Table(columns).write(path)
    output = tmp_path / "out.parquet"
    command = ["selection", "--function", tmp_path / "f.fits", "--population", path]
    command += ["--output", output, "--by", "brick"]
    assert main([*map(str, command)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = function.predict_number(lenses).loc["all"]
    interval = f"95 %: {row['low']:.0f} to {row['high']:.0f}"
    assert lines[0] == f"all: {row['expected']:.1f} ({interval}) of 60 lenses found"
    written = pd.read_parquet(output)
    assert written["completeness"].sum() == pytest.approx(row["expected"])
    assert {"low", "high", "extrapolated"} < set(written)
    command += ["--weights", "expected"]
    assert main([*map(str, command)]) == 1
    assert f"{output}: exists; give --overwrite" in capsys.readouterr().err
    assert main([*map(str, command), "--overwrite"]) == 0
    assert "of 30 lenses found" in capsys.readouterr().out


def test_the_command_takes_a_run(function, tmp_path, capsys):
    function.write(tmp_path / "run" / "selection" / "selection.fits")
    lenses = planted(np.random.default_rng(12), 60)
    lenses.to_csv(tmp_path / "mine.csv", index=False)
    run = str(tmp_path / "run")
    assert main(["selection", run, "--population", str(tmp_path / "mine.csv")]) == 0
    written = pd.read_csv(tmp_path / "run" / "selection" / "populations" / "mine.csv")
    expected = function.completeness(lenses)["completeness"]
    assert written["completeness"].to_numpy() == pytest.approx(expected.to_numpy())
    assert main(["selection", "--population", str(tmp_path / "mine.csv")]) == 1
    assert "RUN: found none; give the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--output", "out.txt"], "found suffix '.txt', expected one of"),
        (["--weights", "many"], "--weights: found no column many in"),
        (["--population", "none.csv"], "none.csv: can't be read as a table"),
        (["--function", "none.fits"], "none.fits: can't be read as a selection function"),
    ],
)
def test_errors_of_the_command(function, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    function.write("f.fits")
    planted(np.random.default_rng(12), 5).to_csv("mine.csv")
    command = ["selection", "--function", "f.fits", "--population", "mine.csv", "--output", "o.csv"]
    assert main([*command, *change]) == 1
    assert message in capsys.readouterr().err


def test_half_completeness(function):
    radius, low, high = measure.half_completeness_radius(function, 20.0)
    rows = function.typical(1).assign(arc_snr=20.0, theta_e_arcsec=radius)
    assert function.completeness(rows)["completeness"][0] == pytest.approx(0.5, abs=0.03)
    assert low < radius < high
    assert measure.half_completeness_radius(function, 0.0)[0] is None


def test_realism_is_described():
    assert describe_realism(None) == "not compared with real lenses"
    text = describe_realism(
        {"auc_features": 0.75, "auc_features_low": 0.69, "auc_features_high": 0.8,
         "auc_photometry": None, "n_real": 161, "n_injected": 160}
    )  # fmt: skip
    assert "160 injected from 161 real" in text
    assert "0.75 (0.69 to 0.80) from network features" in text
    assert "photometry" not in text


@pytest.fixture
def run(table, tmp_path, monkeypatch):
    """Settings of a run with injected lenses, and planted ones in a brick that was held out."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        {"run": "r", "simulation": {}, "footprint": {"bricks": ["1500p320", "1503p320"]},
         "selection": {"number": 3000}, "candidates": {"threshold": 0.5}}
    )  # fmt: skip
    paths = settings.paths
    rng = np.random.default_rng(13)
    lenses = searched(rng, planted(rng, 200)).assign(brick="1503p320")
    lenses["id"] = [f"9010-1-{i}" for i in range(200)]
    lenses["p"] = np.where(lenses["found"], 0.8, 0.2).astype(np.float32)
    lenses["flags"] = 0
    lenses = lenses.assign(region="north", type="SER", nobs_z=3, kind="lens", primary=True)
    lenses["mag_r"] = lenses["mag_z"] + 1
    lenses = lenses.assign(ra=150 + np.arange(200) / 100, dec=32.0, beta=0.4, visible=True)
    truth = ["id", "ra", "dec", "kind", "theta_e_arcsec", "beta", "arc_snr", "arc_mag_g", "visible"]
    files = {
        paths.selection("injected.parquet"): table.assign(
            region="north", visible=True, mag_r=table["mag_z"] + 1
        ),
        paths.bricks: pd.DataFrame({"brick": ["1500p320", "1503p320"], "chunk": "64-1"}),
        paths.sample: pd.DataFrame({"brick": ["1500p320"], "split": ["train"]}),
        paths.truth: lenses[[*truth, "primary"]],
        paths.scores("64-1"): lenses[["id", "brick", "region", "type", "p", "flags"]],
        paths.parent("64-1"): lenses[
            ["id", "brick", "ra", "dec", "region", "psfsize_g", "galdepth_g", "mag_r", "mag_z"]
        ],
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        content.to_parquet(path)
    paths.model(settings.training.name).parent.mkdir(parents=True)
    paths.model(settings.training.name).write_bytes(b"a model")
    return settings, lenses


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(measure, "plot_completeness", lambda *args: None)
    monkeypatch.setattr(measure, "plot_prediction", lambda *args: None)


def test_measurement_of_a_run(run, table):
    settings, lenses = run
    realism = {"auc_features": 0.7, "auc_features_low": 0.6, "auc_features_high": 0.8}
    settings.paths.selection("realism.json").write_text(json.dumps(realism))
    summary = measure.measure_selection_function(settings)
    read = json.loads(settings.paths.selection("selection.json").read_text())
    assert read == summary
    assert summary["n_painted"] == 3000
    assert summary["n_found"] == table["found"].sum()
    assert summary["realism"] == realism
    cells = Table.read(settings.paths.selection("selection.fits"), hdu="CELLS").to_pandas()
    assert summary["n_cells"] == len(cells)
    assert summary["n_cells_empty"] == (cells["n_painted"] == 0).sum()
    # Numbers are compared where a binomial distribution has a variance of 1 or more.
    variance = binom.var(cells["n_painted"], cells["model"])
    difference = cells["n_found"] - binom.mean(cells["n_painted"], cells["model"])
    assert summary["n_cells_compared"] == (variance >= 1).sum()
    chi2 = (difference**2 / variance)[variance >= 1].sum()
    assert summary["chi2_cells"] == pytest.approx(chi2)
    assert chi2 < 2 * summary["n_cells_compared"]
    written = SelectionFunction.read(settings.paths.selection("selection.fits"))
    assert summary["brick_scatter_logit"] ** 2 == pytest.approx(written.brick_variance)
    assert [row["arc_snr"] for row in summary["half_complete"]] == [10, 20, 40, 80]
    prediction = json.loads(settings.paths.selection("prediction.json").read_text())
    assert prediction["n"] == 200
    assert prediction["n_near_lenses"] == 0
    assert prediction["found"] == lenses["found"].sum()
    assert prediction["inside"]
    assert sum(row["n"] for row in prediction["bins"]) == 200
    assert sum(row["found"] for row in prediction["bins"]) == prediction["found"]
    assert len(prediction["bins"]) == 6
    for name in ("completeness.png", "prediction.png"):
        assert settings.paths.selection(name).read_bytes().startswith(b"\x89PNG")
    again = settings.paths.selection("selection.fits").read_bytes()
    measure.measure_selection_function(settings)
    assert settings.paths.selection("selection.fits").read_bytes() == again


def test_few_lenses_say_little_of_a_part_of_them(run, no_figures, caplog):
    caplog.set_level("INFO")
    path = run[0].paths.selection("injected.parquet")
    lenses = pd.read_parquet(path)
    for number, said in ((1499, True), (1500, False)):
        caplog.clear()
        lenses[:number].to_parquet(path)
        measure.measure_selection_function(run[0])
        assert ("selection.number of 1500" in caplog.text) == said


def test_lenses_near_others_are_not_judged(run):
    settings, _ = run
    truth = pd.read_parquet(settings.paths.truth)
    # 19 and 21 arcsec from the next, and a listing of the same lens in a neighbouring brick.
    truth.loc[[3, 9], "dec"] = 32 + np.array([19, 21]) / 3600
    truth.loc[[3, 9], "ra"] = truth["ra"][[4, 8]].to_numpy()
    copy = truth[:1].assign(id="9010-2-7", primary=False)
    pd.concat([truth, copy]).to_parquet(settings.paths.truth)
    parent = pd.read_parquet(settings.paths.parent("64-1"))
    parent[["ra", "dec"]] = truth[["ra", "dec"]]
    parent.to_parquet(settings.paths.parent("64-1"))
    cuts = read_cuts(settings.paths.cuts, settings.candidates.threshold)
    planted = read_planted_lenses(settings.paths, settings.held_out, cuts, [])
    assert planted["id"][~planted["alone"]].tolist() == ["9010-1-3", "9010-1-4"]


def test_lenses_that_were_thinned_out_are_predicted(table):
    """Of the lenses whose arcs are not visible a simulated sky keeps a tenth."""
    rng = np.random.default_rng(23)
    tables = []
    for one in (injected(rng, 4000), planted(rng, 6000)):
        visible = rng.random(len(one)) < expit(3 * (np.log10(1 + one["arc_snr"]) - 1.1))
        shift = np.where(visible, 1.0, -2.0)
        chance = expit(logit_of(one) + shift)
        tables.append(one.assign(visible=visible, found=rng.random(len(one)) < chance))
    drawn, sky = tables
    sky = sky[sky["visible"] | (rng.random(len(sky)) < 0.1)][:1500]
    for quantities, off in ((QUANTITIES, True), ([*QUANTITIES, VISIBLE], False)):
        result = compare_planted(SelectionFunction.fit(drawn, quantities, 22.5), sky)
        ratio = result["expected"] / result["found"]
        assert (ratio < 0.9) if off else ratio == pytest.approx(1, abs=0.05)


def test_redder_galaxies_are_predicted(run, no_figures):
    """Planted deflectors are redder than the hosts of injected lenses, and found more often."""
    settings, lenses = run
    rng = np.random.default_rng(24)
    injected = pd.read_parquet(settings.paths.selection("injected.parquet"))
    colour = rng.uniform(0.5, 1.5, len(injected))
    chance = expit(logit_of(injected) + 3 * (colour - 1))
    injected = injected.assign(
        mag_r=injected["mag_z"] + colour, found=rng.random(len(injected)) < chance
    )
    injected.to_parquet(settings.paths.selection("injected.parquet"))
    red = rng.uniform(1.2, 1.5, len(lenses))
    found = rng.random(len(lenses)) < expit(logit_of(lenses) + 3 * (red - 1))
    parent, scores = (getattr(settings.paths, name)("64-1") for name in ("parent", "scores"))
    pd.read_parquet(parent).assign(mag_r=lenses["mag_z"] + red).to_parquet(parent)
    p = np.where(found, 0.8, 0.2).astype(np.float32)
    pd.read_parquet(scores).assign(p=p).to_parquet(scores)
    measure.measure_selection_function(settings)
    prediction = json.loads(settings.paths.selection("prediction.json").read_text())
    assert prediction["found"] == found.sum()
    assert prediction["expected"] == pytest.approx(found.sum(), rel=0.08)
    written = SelectionFunction.read(settings.paths.selection("selection.fits"))
    planted = pd.read_parquet(parent).merge(lenses[["id", "theta_e_arcsec", "arc_snr"]], on="id")
    assert written.predict_number(planted).loc["all", "expected"] < 0.9 * found.sum()


def regions(rng, number):
    """Lenses in two regions; fewer are found in the north, most of all small ones."""
    table = injected(rng, number).assign(region=rng.choice(["north", "south"], number))
    shift = np.where(table["region"] == "north", -1.5 - 2 * np.log10(table["theta_e_arcsec"]), 0)
    return table.assign(found=rng.random(number) < expit(logit_of(table) + shift))


def test_region_is_a_covariate_where_there_are_two(tmp_path):
    table = regions(np.random.default_rng(21), 2000)
    quantities = selection_quantities("grz", regions=table["region"].unique())
    assert [quantity.name for quantity in quantities[5:]] == ["region"]
    assert len(selection_quantities("grz", regions=["south"])) == 5
    function = SelectionFunction.fit(table, quantities, 22.5)
    other = regions(np.random.default_rng(22), 2000)
    unaware = SelectionFunction.fit(table, QUANTITIES, 22.5)
    for name in ("north", "south"):
        mask = (other["region"] == name).to_numpy()
        found = other["found"][mask].sum()
        numbers = (f.predict_number(other[mask]).loc["all"] for f in (function, unaware))
        aware, ignored = (row["expected"] / found for row in numbers)
        assert aware == pytest.approx(1, abs=0.08)
        assert abs(ignored - 1) > 0.1
    path = tmp_path / "selection.fits"
    cells = measure_cells(table, function, BINS)
    assert not {"region_low", "region_high"} & set(cells)
    assert cells["n_painted"].sum() == 2000
    function.write(path, cells)
    read = SelectionFunction.read(path)
    numbers = (other["region"] == "north").astype(float)
    same = [read.completeness(other.assign(region=r)) for r in (other["region"], numbers)]
    pd.testing.assert_frame_equal(*same)
    pd.testing.assert_frame_equal(same[0], function.completeness(other))
    # An unknown region counts as the middle one, and is told.
    unknown = function.completeness(other.drop(columns="region"))
    assert unknown["extrapolated"].all()
    other[:9].replace("north", "North ").to_csv(tmp_path / "mine.csv", index=False)
    given = user_quantities(read_user_table(tmp_path / "mine.csv", "lenses"), quantities)
    assert function.completeness(given).equals(function.completeness(other[:9]))
    summary = {"run": "r", "n_found": 1, "n_painted": 2, "threshold": 0.5, "realism": None}
    plot_completeness(function, table, summary, tmp_path / "c.png")


def test_flagged_and_unscored_lenses_are_not_found(run):
    settings, lenses = run
    scores = settings.paths.scores("64-1")
    changed = pd.read_parquet(scores)
    first, second = np.flatnonzero(lenses["found"])[:2]
    changed.loc[first, "p"] = np.nan
    changed.loc[second, "flags"] = int(FLAGS[settings.candidates.reject_flags[0]])
    changed.to_parquet(scores)
    cuts = read_cuts(settings.paths.cuts, settings.candidates.threshold)
    flags = settings.candidates.reject_flags
    planted = read_planted_lenses(settings.paths, settings.held_out, cuts, flags)
    assert planted["found"].sum() == lenses["found"].sum() - 2


def test_a_run_without_planted_lenses_is_refused(run, no_figures):
    settings, _ = run
    truth = pd.read_parquet(settings.paths.truth).assign(kind="elliptical")
    truth.to_parquet(settings.paths.truth)
    with pytest.raises(LenspipeError, match=r"truth\.parquet: found no lens among"):
        measure.measure_selection_function(settings)
    settings.paths.selection("realism.json").write_text("{")
    with pytest.raises(LenspipeError, match=r"realism\.json: can't be read "):
        measure.measure_selection_function(settings)


@pytest.mark.parametrize("brightness", ["arc_snr", "arc_mag"])
def test_figures_of_tables_with_unknown_quantities(table, tmp_path, brightness):
    unknown = table.assign(psfsize_g=1.3, galdepth_g=np.nan)
    function = SelectionFunction.fit(unknown, selection_quantities("grz", brightness), 22.5)
    summary = {"run": "r", "n_found": 1, "n_painted": 2, "threshold": 0.5, "realism": None}
    plot_completeness(function, unknown, summary, tmp_path / "c.png")
    plot_prediction(compare_planted(function, unknown[:60]), function, tmp_path / "p.png")
    assert (tmp_path / "c.png").stat().st_size > 20_000
    assert (tmp_path / "p.png").stat().st_size > 10_000


@pytest.mark.parametrize("edges", [[2.0, 1.0], [1.0, 1.0], [1.0], 0])
def test_bins_of_the_settings(edges):
    config = {"run": "r", "simulation": {}, "footprint": {"bricks": ["1500p320"]}}
    with pytest.raises(LenspipeError, match=r"config key selection\.theta_e_bins"):
        load_settings(config | {"selection": {"theta_e_bins": edges}})
    good = load_settings(config | {"selection": {"theta_e_bins": [0.5, 1.0, 4.0]}})
    assert good.selection.theta_e_bins == [0.5, 1.0, 4.0]
