"""Tests of lenspipe.statistics.balance."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstest

from lenspipe.statistics import balance
from lenspipe.statistics.balance import compare_classes, compare_quantities, quantity_values

N_BRICKS = 150


def draw_sample(labels, rng, shift=0.0, ratio=5):
    """A fair sample: depths shared by bricks, bins by exposures, 5 non-lenses a lens in each bin.

    Lenses fall on galaxies at random (`alone`), more often in some bricks, by a factor e^0.7
    (`clustered`), or once in each brick (`one`). Of a shifted sample they prefer deep bricks.
    """
    brick = np.repeat(np.arange(N_BRICKS), rng.poisson(20, N_BRICKS) + 1)
    n = len(brick)
    exposures = rng.integers(3, 7, N_BRICKS)[brick]
    offset = rng.normal(0, 0.2, N_BRICKS)[brick]
    depth = 24 + 0.3 * np.log2(exposures) + offset + rng.normal(0, 0.03, n)
    rate = np.exp(rng.normal(0, 0.7, N_BRICKS))[brick] if labels == "clustered" else 1
    lens = rng.random(n) < np.minimum(0.08 * rate * np.exp(shift * offset / 0.2), 1)
    if labels == "one":
        lens = np.zeros(n, bool)
        order = rng.permutation(n)
        lens[order[np.unique(brick[order], return_index=True)[1]]] = True
    bins = 2 * exposures + (brick % 3 == 0)
    keep = lens.copy()
    for name in np.unique(bins):
        others = rng.permutation(np.flatnonzero((bins == name) & ~lens))
        keep[others[: ratio * np.sum(lens & (bins == name))]] = True
    return depth[keep], lens[keep], bins[keep], brick[keep]


@pytest.mark.parametrize("labels", ["alone", "clustered", "one"])
def test_p_is_uniform_where_chance_alone_is_at_work(labels, monkeypatch):
    monkeypatch.setattr(balance, "_DRAWS", 399)
    monkeypatch.setattr(balance, "_CUTS", 20)
    rng = np.random.default_rng(1)
    samples = [draw_sample(labels, rng) for _ in range(300)]
    p = np.array([compare_classes(*sample, rng)[1] for sample in samples])
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    if labels == "clustered":
        usual = [ks_2samp(depth[lens], depth[~lens]).pvalue for depth, lens, *_ in samples]
        assert (np.array(usual) < 0.05).mean() > 0.1


def test_a_shifted_depth_is_found():
    rng = np.random.default_rng(2)
    for _ in range(3):
        distance, p, n_bricks = compare_classes(*draw_sample("clustered", rng, shift=1), rng)
        assert p < 0.001
        assert distance > 0.1
        assert n_bricks > N_BRICKS / 2


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=49), st.data())
def test_distance_in_one_stratum_is_that_of_kolmogorov_and_smirnov(values, data):
    values = np.array(values, float)
    lens = np.zeros(len(values), bool)
    lens[: data.draw(st.integers(1, len(values) - 1))] = True
    rng = np.random.default_rng(3)
    distance, p, _ = compare_classes(values, lens, np.zeros(len(values)), values, rng)
    assert distance == pytest.approx(ks_2samp(values[lens], values[~lens]).statistic, abs=1e-9)
    assert 0 < p <= 1


def test_what_differs_between_strata_only_is_no_difference():
    rng = np.random.default_rng(4)
    n = 6000
    deep = rng.random(n) < 0.5
    lens = rng.random(n) < np.where(deep, 0.4, 0.1)
    depth, brick = deep + rng.normal(0, 0.1, n), rng.integers(0, 300, n)
    assert ks_2samp(depth[lens], depth[~lens]).pvalue < 1e-10
    assert compare_classes(depth, lens, deep, brick, rng)[1] > 0.05
    assert compare_classes(depth, lens, np.zeros(n), brick, rng)[1] == 1e-4


def test_where_nothing_can_differ_p_is_one():
    lens = np.arange(40) % 2 == 0
    rng = np.random.default_rng(5)
    fixed = compare_classes(np.arange(40) // 20, lens, np.arange(40) // 20, np.arange(40) % 7, rng)
    assert fixed == (0, 1, 0)


def make_table(n_bricks=40, per_brick=30, seed=0):
    """A sample of two splits, lenses and non-lenses at random."""
    rng = np.random.default_rng(seed)
    brick = np.repeat(np.arange(n_bricks), per_brick)
    n = len(brick)
    table = pd.DataFrame({"brick": brick.astype(str), "label": (rng.random(n) < 0.3) * 1.0})
    table["split"] = np.where(brick % 4 == 0, "test", "train")
    for band in "gz":
        table[f"mag_{band}"] = rng.normal(19, 1, n) - table["label"]
        table[f"nobs_{band}"] = rng.integers(3, 6, n_bricks)[brick]
        table[f"galdepth_{band}"] = 400 * table[f"nobs_{band}"] * rng.uniform(0.8, 1.2, n)
        table[f"psfsize_{band}"] = rng.uniform(1, 1.5, n_bricks)[brick] + rng.normal(0, 0.05, n)
    table["bin"] = "SER south " + table["nobs_z"].astype(str)
    return table


def verdicts(table, bands="gz"):
    _, found = compare_quantities(table, bands, 22.5, np.random.default_rng(6))
    return {f"{entry['quantity']} {entry['band']}": entry["verdict"] for entry in found}


def test_quantities_are_judged_and_said(caplog):
    caplog.set_level(logging.INFO, "lenspipe")
    table = make_table()
    table["galdepth_g"] *= 1 + 0.2 * table["label"]
    table["psfsize_z"] = np.nan
    level, found = compare_quantities(table, "gz", 22.5, np.random.default_rng(6))
    assert level == pytest.approx(0.01 / 5)
    entries = {(entry["quantity"], entry["band"]): entry for entry in found}
    assert {key: entry["verdict"] for key, entry in entries.items()} == {
        ("magnitude", "g"): "not judged",
        ("magnitude", "z"): "not judged",
        ("depth", "g"): "differ",
        ("depth", "z"): "alike",
        ("seeing", "g"): "alike",
        ("seeing", "z"): "unknown",
        ("exposures", "g"): "alike",
        ("exposures", "z"): "alike",
    }
    depth = entries["depth", "g"]
    lens = table["label"] == 1
    assert depth["mean_lenses"] == pytest.approx(
        quantity_values(table[lens], "depth", "g", 22.5).mean()
    )
    assert (depth["n_lenses"], depth["n_others"]) == (lens.sum(), (~lens).sum())
    assert entries["seeing", "z"]["p"] is None
    assert entries["seeing", "z"]["n_lenses"] == 0
    means = f"lenses {depth['mean_lenses']:.2f}, non-lenses {depth['mean_others']:.2f}"
    assert f"sample: depth g: {means}, p 0.0001: differ" in caplog.messages
    assert "sample: seeing z: unknown" in caplog.messages


def test_bins_that_could_not_be_filled_show_in_the_exposures_they_fix():
    table = make_table()
    assert verdicts(table)["exposures z"] == "alike"
    scarce = (table["nobs_z"] == 5) & (table["label"] == 0) & (table.index % 8 > 0)
    found = verdicts(table[~scarce])
    assert found["exposures z"] == "differ"
    assert found["depth z"] == "alike"
    # The last band, of however many.
    third = table[~scarce].filter(like="_g").rename(columns=lambda name: name[:-1] + "r")
    assert verdicts(table[~scarce].join(third), "grz")["exposures z"] == "differ"


def test_few_bricks_tell_nothing():
    found = verdicts(make_table(n_bricks=8))
    assert {found[f"{name} {band}"] for name in ("depth", "seeing") for band in "gz"} == {
        "too few bricks"
    }
    assert found["magnitude g"] == "not judged"


def test_depth_is_the_magnitude_of_five_standard_deviations():
    flux = 10 ** ((22.5 - 24.0) / 2.5)
    table = pd.DataFrame(
        {"galdepth_g": [(5 / flux) ** 2, 0, np.nan, -1], "mag_g": [1, np.inf, 2, 3]}
    )
    np.testing.assert_allclose(
        quantity_values(table, "depth", "g", 22.5), [24, np.nan, np.nan, np.nan]
    )
    np.testing.assert_array_equal(quantity_values(table, "magnitude", "g", 22.5), [1, np.nan, 2, 3])
