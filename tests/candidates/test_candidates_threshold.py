"""Tests of the ways to choose a threshold, and of what is expected of one."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from helpers.scored_run import CHUNK, TRAINING_BRICKS, make_run, make_settings, write_table
from scipy.stats import beta

from lenspipe.candidates.find import find_candidates, forecast
from lenspipe.candidates.forecast import expected_performance
from lenspipe.candidates.ranking import count_scores, nth_highest
from lenspipe.candidates.threshold import find_cuts
from lenspipe.evaluation.purity.measure import measure_purity
from lenspipe.products.candidates import read_cuts
from lenspipe.products.scores import Cuts
from lenspipe.statistics.intervals import binomial_interval, estimate_fraction
from lenspipe.statistics.metrics import completeness_at_fpr
from lenspipe.utils.errors import LenspipeError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings()
    scores = make_run(settings)
    parent = pd.read_parquet(settings.paths.parent(CHUNK))
    # Two of each, so that groups differ.
    kinds = {"region": np.where(scores["objid"] % 2, "north", "south")}
    kinds["type"] = np.where(scores["objid"] < 20, "DEV", "SER")
    scores = scores.assign(region=kinds["region"])
    write_table(parent.assign(**kinds), settings.paths.parent(CHUNK))
    write_table(scores, settings.paths.scores(CHUNK))
    return scores.assign(type=kinds["type"])


def cuts_of(settings):
    return find_cuts(settings.paths, settings.candidates, settings.predictions)


def write_predictions(path, n_lenses=50, n_random=400, seed=2):
    rng = np.random.default_rng(seed)
    label = np.repeat([1.0, 0.0, 0.0], [n_lenses, n_random, 40])
    table = pd.DataFrame({"label": label, "split": "test"})
    table["class"] = np.repeat(["lens", "random", "confusing:spiral"], [n_lenses, n_random, 40])
    table["type"] = rng.choice(["DEV", "SER"], len(table))
    table["region"] = rng.choice(["north", "south"], len(table))
    table["p"] = 1 / (1 + np.exp(-rng.normal(np.where(label, 3, -2), 1.5)))
    # All that is not random, or of the other split, would spoil the rate.
    table.loc[table["class"] == "confusing:spiral", "p"] = 0.999
    table["p"] = table["p"].astype(np.float32)
    other = table.assign(split="validation", p=np.float32(0.9999))
    write_table(pd.concat([table, other], ignore_index=True), path)
    return table[table["class"] != "confusing:spiral"]


def with_threshold(by, value, per=(), **sections):
    own = {"threshold": {"by": by, "value": value, "per": per}}
    return make_settings(candidates=own | sections.pop("candidates", {}), **sections)


def record(settings):
    forecast(settings)
    return json.loads(settings.paths.threshold.read_text())


def chosen(scores, number):
    """Identifiers of the most probable galaxies."""
    return set(scores.nlargest(number, "p")["id"])


@pytest.mark.parametrize(("by", "value", "n"), [("number", 17, 17), ("fraction", 0.1, 12)])
def test_as_many_galaxies_as_asked_for(run, by, value, n):
    settings = with_threshold(by, value)
    table = find_candidates(settings)
    assert set(table["id"]) == chosen(run, n)
    found = record(settings)
    assert (found["n_above"], found["n_searched"], found["n_candidates"]) == (n, 120, n)
    assert found["groups"][0]["cut"] == table["p"].min()
    np.testing.assert_array_equal(
        read_cuts(settings.paths.threshold, settings.candidates.threshold).passes(run),
        run["id"].isin(table["id"]),
    )


@pytest.mark.parametrize("per", [["region"], ["type"], ["region", "type"]])
@pytest.mark.parametrize(("by", "value"), [("number", 5), ("fraction", 0.2), ("inspect", 5)])
def test_each_group_has_a_cut_of_its_own(run, per, by, value):
    settings = with_threshold(by, value, per)
    table = find_candidates(settings)
    expected = set()
    for _, rows in run.groupby(per):
        expected |= chosen(rows, int(value * len(rows)) if by == "fraction" else value)
    assert set(table["id"]) == expected
    groups = record(settings)["groups"]
    assert [tuple(group[name] for name in per) for group in groups] == sorted(
        set(zip(*(run[name] for name in per), strict=True))
    )
    assert sum(group["n_above"] for group in groups) == len(expected)
    cuts = read_cuts(settings.paths.threshold, settings.candidates.threshold)
    assert set(run.loc[cuts.passes(run), "id"]) == expected
    assert not cuts.passes(run.assign(region="east", type="REX")).any()


def test_by_probability_groups_only_count(run):
    settings = with_threshold("probability", 0.8, "region")
    table = find_candidates(settings)
    assert set(table["id"]) == set(run.loc[run["p"] >= np.float32(0.8), "id"])
    assert [group["cut"] for group in record(settings)["groups"]] == [0.8, 0.8]


def test_more_than_there_are_takes_all_and_too_small_a_part_none(run):
    assert len(find_candidates(with_threshold("number", 1000))) == 120
    assert len(find_candidates(with_threshold("inspect", 1000))) == 120
    settings = with_threshold("fraction", 0.001)
    assert len(find_candidates(settings)) == 0
    assert record(settings)["groups"][0]["cut"] is None
    assert not read_cuts(settings.paths.threshold, settings.candidates.threshold).passes(run).any()
    assert read_cuts(settings.paths.threshold, settings.candidates.threshold).lowest == np.inf


@pytest.mark.parametrize("by", ["number", "inspect"])
def test_galaxies_that_score_alike_all_pass(run, by, caplog):
    settings = with_threshold(by, 5)
    order = run["p"].rank(ascending=False, method="first")
    run["p"] *= np.float32(0.5)
    run.loc[order.between(4, 8), "p"] = np.float32(0.95)
    run.loc[order < 4, "p"] = np.float32(1)
    write_table(run.drop(columns="type"), settings.paths.scores(CHUNK))
    with caplog.at_level("INFO", logger="lenspipe"):
        assert set(find_candidates(settings)["id"]) == set(run.loc[order <= 8, "id"])
    assert ("3 more than requested, with tied scores" in caplog.text) == (by == "inspect")


def test_flagged_and_unscored_galaxies_take_no_place(run):
    settings = with_threshold("number", 10)
    best = run["p"].nlargest(12).index
    run.loc[best[0], "flags"], run.loc[best[1], "p"] = 2, np.nan
    write_table(run.drop(columns="type"), settings.paths.scores(CHUNK))
    assert set(find_candidates(settings)["id"]) == set(run.loc[best[2:], "id"])
    assert record(settings)["n_searched"] == 118


def test_inspection_counts_systems_not_galaxies(run):
    settings = with_threshold("inspect", 3)
    order = run["p"].nlargest(10).index
    # The four best are one system, and the sixth belongs to the fifth; then two alone.
    run.loc[order[:4], ["ra", "dec"]] = [[50, 0], [50.001, 0], [50.002, 0], [50.003, 0]]
    run.loc[order[4:6], ["ra", "dec"]] = [[60, 0], [60.001, 0]]
    write_table(run.drop(columns="type"), settings.paths.scores(CHUNK))
    table = find_candidates(settings)
    assert table["n_members"].tolist() == [4, 2, 1]
    assert record(settings)["n_above"] == 7
    assert record(settings)["groups"][0]["cut"] == run.loc[order[6], "p"]
    assert len(find_candidates(with_threshold("number", 3))) == 1


@pytest.mark.parametrize("per", [[], ["region"], ["region", "type"]])
def test_a_false_positive_rate_is_measured_on_held_out_random_galaxies(run, per):
    settings = with_threshold("false_positive_rate", 0.02, per)
    held = write_predictions(settings.predictions)
    find_candidates(settings)
    groups = record(settings)["groups"]
    for group in groups:
        own = held
        for name in per:
            own = own[own[name] == group[name]]
        lenses, others = (own.loc[own["label"] == label, "p"].to_numpy() for label in (1, 0))
        found, _ = completeness_at_fpr(lenses, others, 0.02)
        assert (others >= group["cut"]).sum() == int(0.02 * len(others))
        assert group["expected"]["completeness"] == found
        # The cut is known: what is not is its rate, of which the highest scores below it tell.
        n_found, n_passed = (lenses >= group["cut"]).sum(), int(0.02 * len(others))
        own = group["expected"]
        ends = own["completeness_low"], own["completeness_high"]
        assert ends == pytest.approx(binomial_interval(n_found, len(lenses)))
        assert own["false_positive_rate"] == n_passed / len(others)
        ends = own["false_positive_rate_low"], own["false_positive_rate_high"]
        limits = beta.ppf([0.025, 0.975], n_passed + 1, len(others) - n_passed)
        assert ends == pytest.approx(tuple(limits))
        assert own["purity_low"] < own["purity"] < own["purity_high"] < 1
        assert (group["expected"]["n_lenses"], group["expected"]["n_nonlenses"]) == (
            len(lenses), len(others)
        )  # fmt: skip
    assert len(groups) == 2 ** len(per)
    total = record(settings)["expected"]
    n = total["n_nonlenses"]
    limits = estimate_fraction(round(total["false_positive_rate"] * n), n, len(groups))
    assert (total["false_positive_rate_low"], total["false_positive_rate_high"]) == limits[1:]
    passes = read_cuts(settings.paths.threshold, settings.candidates.threshold).passes(run)
    assert record(settings)["n_above"] == passes.sum()


def test_what_a_cut_promises_is_counted_on_the_held_out_sample(run):
    settings = with_threshold("number", 20, "region", evaluation={"prior": 0.01})
    held = write_predictions(settings.predictions)
    find_candidates(settings)
    found = record(settings)
    passes = read_cuts(settings.paths.threshold, settings.candidates.threshold).passes(held)
    lens = held["label"] == 1
    c, f = passes[lens].mean(), passes[~lens].mean()
    assert found["expected"]["completeness"] == pytest.approx(c)
    assert found["expected"]["false_positive_rate"] == pytest.approx(f)
    assert found["expected"]["purity"] == pytest.approx(0.01 * c / (0.01 * c + 0.99 * f))
    low, high = binomial_interval(int(passes[lens].sum()), int(lens.sum()))
    assert found["expected"]["completeness_low"] == pytest.approx(low)
    assert found["expected"]["completeness_high"] == pytest.approx(high)
    # The cut was not placed at these galaxies.
    ends = [found["expected"][f"false_positive_rate_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx(binomial_interval(int(passes[~lens].sum()), int((~lens).sum())))
    assert "test split" in found["measured_on"]
    assert found["prior"] == 0.01
    forecast(settings)


@pytest.mark.parametrize("per", [(), ("type",)])
def test_rates_are_those_of_all_galaxies_that_no_training_saw(run, per):
    settings = with_threshold("number", 20, per)
    write_predictions(settings.predictions)
    find_candidates(settings)
    measure_purity(settings)
    found = record(settings)
    truth = pd.read_parquet(settings.paths.truth).set_index("id")["kind"]
    others = run[~run["brick"].isin(TRAINING_BRICKS) & (run["id"].map(truth) != "lens")]
    passes = read_cuts(settings.paths.threshold, settings.candidates.threshold).passes(others)
    assert found["expected"]["n_nonlenses"] == len(others) == 40
    assert found["expected"]["false_positive_rate"] == passes.mean()
    ends = [found["expected"][f"false_positive_rate_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx(binomial_interval(passes.sum(), len(others)))
    for group in found["groups"]:
        own = np.ones(len(others), bool) if not per else others["type"] == group["type"]
        assert group["expected"]["n_nonlenses"] == own.sum()
        assert group["expected"]["false_positive_rate"] == passes[own].mean()


def test_without_held_out_galaxies_nothing_is_promised(run):
    settings = with_threshold("number", 20)
    find_candidates(settings)
    found = record(settings)
    assert found["measured_on"] is None
    assert {found["expected"][key] for key in ("completeness", "purity")} == {None}
    with pytest.raises(LenspipeError, match=r"predictions\.parquet: no such file, expected"):
        find_candidates(with_threshold("false_positive_rate", 0.02))


def test_too_few_to_measure_a_rate_is_said(run):
    settings = with_threshold("false_positive_rate", 0.001)
    write_predictions(settings.predictions)
    with pytest.raises(LenspipeError) as caught:
        find_candidates(settings)
    (line,) = str(caught.value).splitlines()
    assert "has 400 random non-lenses, which measure rates of at least 0.0025" in line
    assert "expected at least 1000 of them" in line
    write_predictions(settings.predictions, n_random=20)
    with pytest.raises(LenspipeError, match=r"random non-lenses of north DEV"):
        find_candidates(with_threshold("false_positive_rate", 0.1, ["region", "type"]))


def test_of_a_given_model_the_scores_lie_beside_it(run):
    settings = with_threshold(
        "false_positive_rate", 0.02, inference={"model": "elsewhere/model.keras"}
    )
    write_predictions(settings.predictions)
    assert settings.predictions.parent.name == "elsewhere"
    assert cuts_of(settings)[0].values[()] < 1


def test_the_nth_highest_is_exact_down_to_the_last_bit(run):
    settings = with_threshold("number", 1)
    rng = np.random.default_rng(3)
    # Neighbours as near as float32 has them, at both ends and the middle.
    steps = np.arange(40, dtype=np.uint32)
    p = np.concatenate(
        [(np.array([start], np.float32).view(np.uint32) + steps) for start in (0, 0.5, 0.99999)]
    )
    p = rng.permutation(np.minimum(p.view(np.float32), np.float32(1)))
    write_table(run.assign(p=p).drop(columns="type"), settings.paths.scores(CHUNK))
    search = settings.paths, settings.candidates
    counts = count_scores(*search)
    ordered = np.sort(p)[::-1]
    for n in (1, 2, 3, 40, 41, 79, 80, 119):
        assert nth_highest(*search, counts, {(): n})[()] == ordered[n - 1]


def test_memory_does_not_grow_with_the_survey(run):
    settings = with_threshold("number", 1000)
    rng, chunks, rows = np.random.default_rng(4), 60, 20_000
    bricks = pd.read_parquet(settings.paths.bricks).head(1)
    names = [f"4-{number:06d}" for number in range(chunks)]
    write_table(pd.concat([bricks.assign(chunk=name) for name in names]), settings.paths.bricks)
    best = []
    for name in names:
        p = rng.random(rows, np.float32)
        best.append(np.sort(p)[-1000:])
        write_table(pd.DataFrame({"p": p, "flags": np.int32(0)}), settings.paths.scores(name))
    tracemalloc.start()
    cuts, n_searched = cuts_of(settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_searched == {(): chunks * rows}
    assert cuts.values[()] == np.sort(np.concatenate(best))[-1000]
    # The scores alone are 4.8 MB, and a chunk 0.2 MB.
    assert peak < 3e6


def test_a_group_without_unseen_galaxies_has_the_rate_of_held_out_ones():
    table = pd.DataFrame({"class": "random", "p": np.float32([0.95, 0.3, 0.2, 0.1])})
    table = pd.concat([table.assign(region="north"), table.assign(region="south")])
    cuts = Cuts(("region",), {("north",): 0.9, ("south",): 0.9})
    unseen = {("south",): {"n": 1000, "rate": 0.01, "low": 0.005, "high": 0.018}}
    north, south = (
        expected_performance(table, cuts, None, 1e-4, (name,), unseen)
        for name in ("north", "south")
    )
    assert (north["n_nonlenses"], north["false_positive_rate"]) == (4, 0.25)
    assert (south["n_nonlenses"], south["false_positive_rate"]) == (1000, 0.01)
