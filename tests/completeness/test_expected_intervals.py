"""Tests of the intervals of expected numbers: mean completeness, assumptions, false positives."""

import numpy as np
import pandas as pd
import pytest
from helpers.scored_run import CHUNK, make_run, make_settings, write_table
from scipy.special import expit

from lenspipe.candidates.find import find_candidates, forecast
from lenspipe.completeness.expected.graded import read_graded_candidates
from lenspipe.completeness.expected.numbers import expected_numbers
from lenspipe.completeness.expected.tables import Population
from lenspipe.completeness.quantities import selection_quantities
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.statistics.metrics import PROPERTY_BINS


def lenses(number, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "theta_e_arcsec": rng.uniform(0.5, 3, number),
            "arc_snr": rng.uniform(5, 80, number),
            "psfsize_g": rng.uniform(1.2, 1.6, number),
            "depth_g": rng.uniform(23.8, 24.4, number),
            "mag_z": rng.uniform(17, 20, number),
        }
    )


@pytest.fixture(scope="module")
def function():
    table = lenses(600, 1)
    chance = expit(2 * (table["theta_e_arcsec"] - 1.6))
    table["found"] = np.random.default_rng(2).random(600) < chance
    return SelectionFunction.fit(table, selection_quantities("grz", "arc_snr"), 22.5)


def test_the_mean_of_many_lenses_is_known_better_than_that_of_one(function):
    table = lenses(400, 3)
    weights = np.linspace(0.1, 1, 400)
    population = Population("mine", table, weights, np.ones(400))
    mean = expected_numbers(function, population, 1.0, "grz")["completeness"]
    draws = weights @ function.draws(table) / weights.sum()
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (mean["low"], mean["high"]) == pytest.approx((low, high))
    each = function.completeness(table)
    assert mean["completeness"] == pytest.approx(np.average(each["completeness"], weights=weights))
    # The ends of single lenses have no business in it.
    apart = np.average(each["high"] - each["low"], weights=weights)
    assert mean["high"] - mean["low"] < 0.6 * apart


def test_each_bin_has_its_own_systematic_spread(function):
    table = lenses(400, 4).assign(visible=False)
    large = (table["theta_e_arcsec"] > 2.2).to_numpy()
    table.loc[large, "visible"] = True
    factors = {"large ones more": np.where(large, 2.0, 1.0)}
    population = Population("m", table, np.full(400, 3.0), np.ones(400), alternatives=factors)
    result = expected_numbers(function, population, 1.0, "grz")
    rows = {row["from"]: row for row in result["bins"] if row["quantity"] == "theta_e"}

    def spread(row):
        return row["systematic_high"] / row["high"] - 1

    # By chance of the draws alone; and by a factor of two.
    assert spread(rows[0.9]) < 0.4
    assert spread(rows[2.2]) > 1
    assert spread(result["visible"]) > 1
    assert 0.3 < spread(result["expected"]) < 0.9


def test_the_chance_of_draws_is_that_of_weighted_counts(function):
    table, weights = lenses(50, 5), np.linspace(0.1, 4, 50)
    factors = {"more of them": np.full(50, 1.5)}
    population = Population("m", table, weights, np.ones(50), alternatives=factors)
    systematic = expected_numbers(function, population, 1.0, "grz")["systematic"]
    numbers = weights * function.completeness(table)["completeness"].to_numpy()
    chance = 1.959964 * np.sqrt(np.square(numbers).sum()) / numbers.sum()
    assert systematic["chance of the draws higher"] == pytest.approx(chance, rel=1e-5)
    assert systematic["chance of the draws lower"] == pytest.approx(-chance, rel=1e-5)
    assert systematic["more of them"] == pytest.approx(0.5)


def test_galaxies_that_cannot_be_candidates_are_not_searched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(candidates={"threshold": 0.8})
    scores = make_run(settings)
    scores.loc[:6, "flags"] = 1
    scores.loc[7:9, "p"] = np.nan
    write_table(scores, settings.paths.scores(CHUNK))
    find_candidates(settings)
    forecast(settings)
    edges, flags = PROPERTY_BINS["mag"], settings.candidates.reject_flags
    found = read_graded_candidates(settings.paths, "z", edges, flags)
    assert found.n_searched.sum() == len(scores) - 10
    one_brick = read_graded_candidates(settings.paths, "z", edges, flags, [scores["brick"][0]])
    assert one_brick.n_searched.sum() == 20
