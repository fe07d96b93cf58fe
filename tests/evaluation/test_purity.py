"""Tests of lenspipe.evaluation.purity: brute-force counts, intervals, grades, calibration."""

import itertools
import json
import tracemalloc

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.cards import write_model
from helpers.scored_run import make_settings, write_table
from scipy.stats import beta, binom

from lenspipe.cli.main import main
from lenspipe.config.flags import FLAGS
from lenspipe.evaluation.purity.counting import count_search, thresholds_with
from lenspipe.evaluation.purity.measure import measure_purity
from lenspipe.evaluation.purity.plots import plot_purity
from lenspipe.evaluation.random_galaxies import RandomGalaxies, TrainingSample
from lenspipe.products.scores import Cuts
from lenspipe.statistics.calibration import Calibration, write_calibration
from lenspipe.statistics.intervals import binomial_interval, estimate_fraction, purity_at
from lenspipe.statistics.metrics import PROPERTY_BINS
from lenspipe.utils.errors import LenspipeError

CHUNKS = ("4-000070", "4-000071")
BRICKS = ("0101p000", "0103p000", "0106p000", "0108p000")
CALIBRATION = Calibration("temperature", 1.5, (0.0, 1.0), (0.0, 1.0), 100, 400)


def make_search(settings, n=600, seed=3):
    """Write a search of two chunks with all kinds of galaxies; returns one row for each."""
    rng, paths = np.random.default_rng(seed), settings.paths
    bricks = pd.DataFrame({"brick": BRICKS, "chunk": np.repeat(CHUNKS, 2)})
    write_table(bricks, paths.bricks)
    table = pd.DataFrame({"brick": np.repeat(BRICKS, n // 4)})
    table["id"] = [f"9010-{number}-7" for number in range(n)]
    table["chunk"] = table["brick"].map(bricks.set_index("brick")["chunk"])
    # A grid of half a degree in steps of 30 arcsec: nothing is near anything else.
    table["ra"] = 10 + np.arange(n) % 60 / 120
    table["dec"] = np.arange(n) // 60 / 120
    table["region"] = rng.choice(["north", "south"], n)
    table["type"] = rng.choice(["DEV", "SER", "REX"], n)
    table["mag_z"] = rng.uniform(16, 20.5, n).astype(np.float32)
    table["nobs_z"] = rng.integers(1, 14, n).astype(np.int16)
    table["flags"] = np.int32(0)
    logit = rng.normal(-3, 2.5, n)
    table["p"] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    # Exactly at thresholds, where a cut in double precision would go wrong.
    table.loc[:9, "p"] = np.float32([0.9, 0.9, 0.5, 0.1, 0.95, 0.99, 0.7, 0.3, 1.0, 0.0])
    table["fate"] = "random"
    fates = {
        "no score": slice(20, 40),
        "flagged": slice(40, 60),
        "near a known lens": slice(60, 80),
        "lens that no catalogue lists": slice(80, 95),
        "trained on": slice(95, 200),
    }
    for fate, rows in fates.items():
        table.loc[table.index[rows], "fate"] = fate
    table.loc[table["fate"] == "no score", "p"] = np.nan
    table.loc[table["fate"] == "flagged", "flags"] = int(FLAGS.EDGE)
    # A flag that does not count.
    table.loc[table.index[210:230], "flags"] = int(FLAGS.MASKED)
    near = table[table["fate"] == "near a known lens"]
    known = near[["ra", "dec"]].assign(grade="A", references="known:A")
    # Half of them are the lens, the others within the radius of exclusion.
    known["dec"] += np.where(np.arange(len(near)) % 2, 1, 7) / 3600
    write_table(known, paths.lenses)
    write_truth(table, paths)
    learnt = table[table["fate"] == "trained on"]
    sample = learnt[["id", "brick"]].assign(split="train")
    # Its host is a galaxy that has been seen, and one of another split has not.
    sample.loc[sample.index[:5], "id"] = "injected:" + sample["id"].iloc[:5]
    held_out = table[250:300][["id", "brick"]].assign(split="validation")
    write_table(pd.concat([sample, held_out]), paths.sample)
    for chunk, rows in table.groupby("chunk"):
        scores = rows[["id", "brick", "region", "ra", "dec", "flags", "p"]]
        write_table(scores, paths.scores(chunk))
        write_table(rows.drop(columns=["flags", "p", "fate"]), paths.parent(chunk))
    write_predictions(settings)
    write_calibration(settings.predictions.with_name("calibration.json"), CALIBRATION)
    return table


def write_truth(table, paths):
    lens = table["fate"].isin(["lens that no catalogue lists", "near a known lens"])
    truth = table[["id", "ra", "dec"]].assign(kind=np.where(lens, "lens", "elliptical"))
    # Of no lens are there images for other galaxies to show.
    truth = truth.assign(theta_e_arcsec=1.0, beta=0.4, visible=False, primary=True)
    # Each region that has a brick lists its objects.
    write_table(pd.concat([truth, truth.head(90)]), paths.truth)


def write_predictions(settings, seed=5):
    rng = np.random.default_rng(seed)
    kinds = np.repeat(["lens", "random", "confusing:spiral"], [80, 500, 40])
    table = pd.DataFrame({"class": kinds, "split": "test", "type": "DEV", "region": "south"})
    table["label"] = (kinds == "lens").astype(float)
    logit = rng.normal(np.where(table["label"], 2, -3), 2.5)
    table["p"] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    write_table(table, settings.predictions)
    return table


def write_grades(settings, table):
    path = settings.paths.inspection("grades.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own; the figure, which takes seconds, has a test of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lenspipe.evaluation.purity.measure.plot_purity", lambda *given: None)
    return tmp_path


@pytest.fixture
def search(folder):
    settings = make_settings()
    return settings, make_search(settings)


def csv_of(settings):
    return pd.read_csv(settings.paths.purity("purity.csv"))


def label(value, edges):
    """The interval a value is in, found one by one."""
    if value < edges[1]:
        return f"below {edges[1]:g}"
    for low, high in itertools.pairwise(edges[1:-1]):
        if low <= value < high:
            return f"{low:g} to {high:g}"
    return f"{edges[-2]:g} and more"


def test_counts_are_those_of_brute_force(search):
    settings, table = search
    found = measure_purity(settings)
    rows = table[table["fate"] == "random"]
    seen = set(table.loc[table["fate"] == "trained on", "brick"])
    parts = {
        "all": pd.Series("all", rows.index),
        "type": rows["type"],
        "region": rows["region"],
        "bricks": rows["brick"].isin(seen).map({True: "trained on", False: "never trained on"}),
        "exposures": rows["nobs_z"].map(lambda n: label(n, PROPERTY_BINS["nobs"])),
        "magnitude": rows["mag_z"].map(lambda m: label(m, PROPERTY_BINS["mag"])),
    }
    expected = {
        (group, value, threshold): (len(own), int((own["p"] >= np.float32(threshold)).sum()))
        for group, values in parts.items()
        for value, own in rows.groupby(values)
        for threshold in thresholds_with(Cuts((), {(): 0.9}))
    }
    written = csv_of(settings)
    keys = zip(written["group"], written["value"], written["threshold"].astype("f4"), strict=True)
    counted = dict(zip(keys, zip(written["n"], written["passed"], strict=True), strict=True))
    assert counted == expected
    assert found["n_random"] == len(rows) == 420
    at_cut = {(row["group"], row["value"]): row["passed"] for row in found["at_cuts"]}
    assert at_cut == {k[:2]: v[1] for k, v in expected.items() if k[2] == np.float32(0.9)}


@pytest.mark.parametrize("case", ["graded", "nothing left", "no held-out galaxies"])
def test_the_figure_is_drawn(search, case):
    settings, table = search
    if case == "graded":
        write_grades(settings, table[table["p"] > 0.9][["ra", "dec", "p"]].assign(grade="B"))
    elif case == "nothing left":
        write_table(table[["id", "brick"]].assign(split="train"), settings.paths.sample)
    else:
        settings.predictions.unlink()
        settings.predictions.with_name("calibration.json").unlink()
    found = measure_purity(settings)
    path = settings.paths.purity("purity.png")
    plot_purity(pd.read_csv(settings.paths.purity("purity.csv")), found, path, "z")
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 900
    # Eight panels of black frames, and curves in colour.
    assert (np.ptp(image[..., :3], axis=2) > 0.3).sum() > 500


def test_each_galaxy_has_one_fate(search):
    settings, table = search
    found = measure_purity(settings)
    counts = table["fate"].value_counts()
    for fate, number in found["left_out"].items():
        assert number == counts.get(fate, 0), fate
    assert sum(found["left_out"].values()) + found["n_random"] == len(table)
    assert found["n_searched"] == len(table) - counts["no score"] - counts["flagged"]


def test_sums_of_groups_are_the_whole(search):
    settings, _ = search
    measure_purity(settings)
    table = csv_of(settings)
    sums = table.groupby(["group", "threshold"])[["n", "passed"]].sum().unstack("group")
    for name in ("n", "passed"):
        for group in sums[name]:
            pd.testing.assert_series_equal(sums[name][group], sums[name]["all"], check_names=False)


def test_intervals_and_the_limit_where_none_passes(search):
    settings, _ = search
    found = measure_purity(settings)
    table = csv_of(settings)
    some = table[table["passed"] > 0]
    for row in some.sample(50, random_state=1).itertuples():
        assert (row.low, row.high) == pytest.approx(binomial_interval(row.passed, row.n))
        assert row.rate == pytest.approx(row.passed / row.n)
    none = table[table["passed"] == 0]
    assert len(none)
    assert (none["rate"] == 0).all()
    assert (none["low"] == 0).all()
    # At that true rate none of n passes one time in forty: the other half is at the low end.
    np.testing.assert_allclose(binom.pmf(0, none["n"], none["high"]), 0.025)
    assert estimate_fraction(0, 3000)[2] == pytest.approx(3.69 / 3000, rel=2e-3)
    assert estimate_fraction(0, 0) == (None, None, None)
    assert found["lowest_rate"] == 1 / 420
    assert found["upper_limit_if_none"] == estimate_fraction(0, 420)[2]


def test_thresholds_of_rates_are_the_lowest_and_none_is_guessed(search):
    settings, table = search
    found = measure_purity(settings)
    # 420 galaxies measure 1e-1 and 1e-2, and not 1e-3.
    assert [row["asked"] for row in found["at_rates"]] == [0.1, 0.01]
    p = table.loc[table["fate"] == "random", "p"].to_numpy()
    thresholds = thresholds_with(Cuts((), {(): 0.9}))
    for row in found["at_rates"]:
        below = [t for t in thresholds if (p >= t).mean() <= row["asked"]]
        assert np.float32(row["threshold"]) == below[0]
        k, n = int((p >= below[0]).sum()), len(p)
        assert row["rate"] == k / n
        # The threshold was chosen by the number that passes it.
        limits = beta.ppf([0.025, 0.975], k + 1, n - k)
        assert [row["rate_low"], row["rate_high"]] == pytest.approx(list(limits))
        at_cut = row["completeness_high"] - row["completeness_low"]
        assert row["completeness_at_rate"] == row["completeness"]
        assert row["completeness_at_rate_high"] - row["completeness_at_rate_low"] > at_cut


def test_validation_counts_as_trained_on_after_a_refit(folder):
    settings = make_settings(training={"refit": True}, sample={"fractions": [0.6, 0.2, 0.2]})
    table = make_search(settings)
    found = measure_purity(settings)
    assert found["left_out"]["trained on"] == (table["fate"] == "trained on").sum() + 50


def test_graded_lenses_move(search):
    settings, table = search
    before = measure_purity(settings)
    rows = table[(table["fate"] == "random") & (table["p"] >= np.float32(0.9))]
    assert len(rows) > 6
    grades = rows[["id", "ra", "dec", "p"]].assign(grade="D")
    grades.iloc[:4, -1] = list("ABCC")
    grades.iloc[4, -1] = ""
    write_grades(settings, grades)
    after = measure_purity(settings)
    assert before["graded"] is None
    assert after["left_out"]["graded A to C"] == 4
    assert after["n_random"] == before["n_random"] - 4
    passed = [found["at_cuts"][0]["passed"] for found in (before, after)]
    assert passed[0] - passed[1] == 4
    n = len(rows) - 1
    graded = after["graded"]
    assert (graded["n_candidates"], graded["n_graded"]) == (n + 1, n)
    assert [graded[f"n_{name}"] for name in ("A", "AB", "ABC")] == [1, 2, 4]
    assert graded["part_ABC"] == 4 / n
    assert [graded["part_ABC_low"], graded["part_ABC_high"]] == list(binomial_interval(4, n))
    error = [
        b["n_graded"] * abs(b["part_ABC"] - b["sky_probability"])
        for b in graded["bins"]
        if b["n_graded"]
    ]
    assert graded["ece"] == pytest.approx(sum(error) / n)
    for bin_ in graded["bins"]:
        own = table[table["p"].between(np.float32(bin_["from"]), np.float32(bin_["to"]), "left")]
        own = own[own["fate"] != "flagged"]
        if bin_["to"] < 1:
            assert bin_["n"] == len(own)
            sky = CALIBRATION.on_sky(own["p"], 1e-4).mean()
            assert bin_["sky_probability"] == pytest.approx(sky)
    for key in ("n_candidates", "n_graded", "n_A", "n_ABC"):
        assert sum(bin_[key] for bin_ in graded["bins"]) == graded[key]


def test_grades_above_each_threshold_and_nothing_below_the_cut(search):
    settings, table = search
    rows = table[(table["fate"] == "random") & (table["p"] >= np.float32(0.9))]
    grades = rows[["ra", "dec", "p"]].assign(grade=np.where(np.arange(len(rows)) % 3, "D", "B"))
    write_grades(settings, grades)
    found = measure_purity(settings)
    for row in found["yield"]:
        if np.float32(row["threshold"]) < np.float32(0.9):
            assert "n_graded" not in row
            continue
        own = grades[grades["p"] >= np.float32(row["threshold"])]
        assert row["n_graded"] == len(own)
        assert row["n_AB"] == (own["grade"] == "B").sum()
        assert row["n_A"] == 0
        assert row["part_AB"] == (pytest.approx((own["grade"] == "B").mean()) if len(own) else None)


@pytest.mark.parametrize(
    ("grade", "prior", "verdict"),
    [
        ("A", 1e-6, "more lenses than expected"),
        ("D", 0.99, "fewer lenses than expected"),
        ("D", 1e-6, "consistent"),
        ("", 1e-4, None),
    ],
)
def test_grades_are_compared_with_what_was_expected(folder, grade, prior, verdict):
    settings = make_settings(evaluation={"prior": prior}, candidates={"threshold": 0.1})
    table = make_search(settings)
    rows = table[table["p"] >= np.float32(0.1)]
    write_grades(settings, rows[["ra", "dec", "p"]].assign(grade=grade))
    found = measure_purity(settings)
    row = next(row for row in found["yield"] if row["threshold"] == 0.1)
    assert row["verdict"] == verdict


def test_yield_is_what_bayes_says(search):
    settings, table = search
    found = measure_purity(settings)
    predictions = pd.read_parquet(settings.predictions)
    searched = table[table["p"].notna() & (table["fate"] != "flagged")]
    known = table[(table["fate"] == "near a known lens")].iloc[1::2]
    for row in found["yield"][::7]:
        threshold = np.float32(row["threshold"])
        above = searched[searched["p"] >= threshold]
        assert row["n"] == len(above)
        assert row["n_known"] == (known["p"] >= threshold).sum()
        passes = predictions["p"] >= threshold
        completeness, rate = (
            passes[predictions["class"] == kind].mean() for kind in ("lens", "random")
        )
        assert row["completeness"] == pytest.approx(completeness)
        assert row["held_out_rate"] == pytest.approx(rate)
        assert row["lenses"] == pytest.approx(1e-4 * len(searched) * completeness)
        assert row["false"] == pytest.approx((1 - 1e-4) * len(searched) * rate)
        if rate:
            assert row["purity"] == pytest.approx(purity_at(completeness, rate, 1e-4))
            assert row["purity_low"] <= row["purity"] <= row["purity_high"]
        else:
            assert row["purity"] is None
        # Scores nearer to 1 count as 1e-7 from it.
        p = np.minimum(above["p"].to_numpy(np.float64), 1 - 1e-7)
        odds = (p / (1 - p)) ** (1 / 1.5) * (1e-4 / (1 - 1e-4)) / (100 / 400)
        assert row["sky_lenses"] == pytest.approx((odds / (1 + odds)).sum(), rel=1e-6)


def test_probabilities_on_the_sky_find_as_many_lenses_as_there_are():
    rng = np.random.default_rng(8)
    p = rng.random(400_000)
    # Calibrated where one in five is a lens; the sky has them a hundred times rarer.
    calibration = Calibration("isotonic", 1.0, (0.0, 1.0), (0.0, 1.0), 100, 400)
    density = {kind: np.where(kind == "lens", 5 * p, 1.25 * (1 - p)) for kind in ("lens", "other")}
    prior = 0.002
    # Weighted as the mixture on the sky: each class's density of scores times its part.
    weights = prior * density["lens"] + (1 - prior) * density["other"]
    lenses = prior * density["lens"]
    sky = calibration.on_sky(p, prior)
    for low, high in ((0, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1)):
        inside = (p >= low) & (p < high)
        assert (sky * weights)[inside].sum() == pytest.approx(lenses[inside].sum(), rel=1e-6)
    np.testing.assert_allclose(calibration.on_sky([0, 1], prior), [0, 1])
    np.testing.assert_allclose(calibration.on_sky(p[:9], 0.2), p[:9])


def test_a_galaxy_that_is_listed_twice_counts_once(search):
    settings, _ = search
    before = measure_purity(settings)
    path = settings.paths.scores(CHUNKS[0])
    scores = pd.read_parquet(path)
    write_table(pd.concat([scores, scores.iloc[:12]]), path)
    after = measure_purity(settings)
    assert after["left_out"].pop("listed twice") == 12
    before["left_out"].pop("listed twice")
    assert after == before


def test_nothing_left_is_said_in_one_line(search, caplog):
    settings, table = search
    sample = table[["id", "brick"]].assign(split="train")
    write_table(sample, settings.paths.sample)
    with caplog.at_level("INFO", logger="lenspipe"):
        found = measure_purity(settings)
    lines = [r.getMessage() for r in caplog.records if "no galaxy of the search is left" in r.msg]
    assert len(lines) == 1
    assert "'trained on': " in lines[0]
    assert (found["n_random"], found["lowest_rate"], found["at_rates"]) == (0, None, [])
    assert found["at_cuts"] == []
    assert len(csv_of(settings)) == 0
    row = found["yield"][40]
    assert row["rate"] is None
    assert row["n"] > 0
    assert row["purity"] is not None


def test_without_held_out_galaxies_and_calibration_rates_remain(search, caplog):
    settings, _ = search
    settings.predictions.unlink()
    settings.predictions.with_name("calibration.json").unlink()
    with caplog.at_level("INFO", logger="lenspipe"):
        found = measure_purity(settings)
    assert "no calibration" in caplog.text
    assert found["measured_on"] is None
    row = next(row for row in found["yield"] if row["threshold"] == 0.5)
    assert row["rate"] > 0
    for name in ("completeness", "held_out_rate", "lenses", "purity", "sky_lenses"):
        assert row[name] is None


def test_a_cut_for_each_group(folder):
    settings = make_settings(candidates={"threshold": {"by": "number", "value": 9, "per": "type"}})
    table = make_search(settings)
    cuts = {"DEV": 0.2, "SER": 0.6, "REX": None}
    groups = [{"type": kind, "cut": cut} for kind, cut in cuts.items()]
    settings.paths.cuts.parent.mkdir(parents=True)
    settings.paths.cuts.write_text(json.dumps({"per": ["type"], "groups": groups}))
    found = measure_purity(settings)
    assert found["cut"] is None
    rows = table[table["fate"] == "random"]
    for row in found["at_cuts"]:
        if row["group"] == "type":
            cut = cuts[row["value"]]
            own = rows.loc[rows["type"] == row["value"], "p"]
            assert row["passed"] == (0 if cut is None else (own >= np.float32(cut)).sum())
    assert {0.2, 0.6} <= set(csv_of(settings)["threshold"])


def test_rates_at_cuts_that_non_lenses_placed(folder):
    rule = {"by": "false_positive_rate", "value": 0.05, "per": "type"}
    settings = make_settings(candidates={"threshold": rule})
    make_search(settings)
    groups = [{"type": kind, "cut": 0.4} for kind in ("DEV", "SER", "REX")]
    settings.paths.cuts.parent.mkdir(parents=True)
    settings.paths.cuts.write_text(json.dumps({"per": ["type"], "groups": groups}))
    rows = {(row["group"], row["value"]): row for row in measure_purity(settings)["at_cuts"]}
    # Cuts that were placed at galaxies of the group itself: three, one, or an unknown number.
    for key, placed in {
        ("all", "all"): 3, ("bricks", "never trained on"): 3, ("cut", "SER"): 1,
        ("region", "north"): 0, ("type", "SER"): 0,
    }.items():  # fmt: skip
        n, k = rows[key]["n"], rows[key]["passed"]
        assert 0 < k < n
        limits = beta.ppf([0.025, 0.975], k + placed, n - k) if placed else binomial_interval(k, n)
        ends = rows[key]["low"], rows[key]["high"]
        assert ends == pytest.approx(tuple(limits)), key


def test_of_a_given_model_the_training_is_said_to_be_unknown(folder, caplog):
    own = make_settings()
    table = make_search(own)
    settings = make_settings(inference={"model": "models/other/model.keras"})
    with caplog.at_level("INFO", logger="lenspipe"):
        found = measure_purity(settings)
    assert "recovery.sample names its labelled sample" in caplog.text
    assert not found["knows_training"]
    assert found["n_random"] == table["fate"].isin(["random", "trained on"]).sum()
    assert "bricks" not in set(csv_of(settings)["group"])


def test_a_model_with_a_card_was_trained_on_no_galaxy_of_the_search(folder, caplog):
    settings = make_settings(inference={"model": "given"})
    table = make_search(settings)
    write_model(folder / "given")
    with caplog.at_level("INFO", logger="lenspipe"):
        found = measure_purity(settings)
    assert "recovery.sample names its labelled sample" not in caplog.text
    assert found["knows_training"]
    assert found["n_random"] == table["fate"].isin(["random", "trained on"]).sum()


def test_the_sample_of_a_given_model_may_be_of_another_release(folder):
    table = make_search(make_settings())
    learnt = table[table["fate"] == "trained on"]
    sample = learnt[["brick", "ra", "dec"]].assign(id="8000-1-1", split="train")
    sample["dec"] += 0.3 / 3600
    write_table(sample, folder / "other" / "sample" / "sample.parquet")
    settings = make_settings(
        inference={"model": "models/other/model.keras"},
        recovery={"sample": "other/sample/sample.parquet"},
    )
    found = measure_purity(settings)
    assert found["knows_training"]
    assert found["left_out"]["trained on"] == len(learnt)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("ra,dec,p\n1,2,0.5\n", "grade"),
        ("ra,dec,p,grade\nx,2,0.5,A\n", "line 2: found ra 'x'"),
    ],
)
def test_unreadable_grades_are_one_line(search, content, expected):
    settings, _ = search
    path = settings.paths.inspection("grades.csv")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(LenspipeError, match=r"grades\.csv: ") as error:
        measure_purity(settings)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("what", ["missing", "broken"])
def test_unreadable_sample_is_one_line(search, what):
    settings, _ = search
    if what == "missing":
        settings.paths.sample.unlink()
    else:
        settings.paths.sample.write_text("no table")
    with pytest.raises(LenspipeError, match=r"sample\.parquet: .*recovery\.sample") as error:
        measure_purity(settings)
    assert "\n" not in str(error.value)


def test_the_command_measures(folder, capsys):
    config = {
        "run": "tiny",
        "simulation": {},
        "footprint": {"bricks": list(BRICKS)},
        "chunks": {"nside": 4},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    settings = make_settings()
    make_search(settings)
    assert main(["purity", "my.yaml"]) == 0
    assert "purity.json, .csv and .png: written" in capsys.readouterr().out
    found = json.loads(settings.paths.purity("purity.json").read_text())
    assert found["n_random"] == 420
    assert main(["purity", "my.yaml"]) == 1
    assert "purity.json: exists; give --overwrite" in capsys.readouterr().err
    assert main(["purity", "my.yaml", "--output", "elsewhere"]) == 0
    assert json.loads((folder / "elsewhere" / "purity.json").read_text()) == found
    settings.paths.lenses.unlink()
    assert main(["purity", "my.yaml", "--overwrite"]) == 1
    assert "expected the table of known lenses" in capsys.readouterr().err


def test_thresholds_are_ten_in_each_factor_of_ten_of_the_odds():
    thresholds = thresholds_with(Cuts(("region",), {("north",): 0.123, ("south",): np.inf}))
    assert thresholds.dtype == np.float32
    assert np.all(np.diff(thresholds) > 0)
    odds = [10 ** (tenths / 10) for tenths in range(-40, 71)]
    expected = {np.float32(each / (1 + each)) for each in odds}
    assert expected <= set(thresholds)
    # Beside these there are the cut and round numbers.
    digits = {f"{each:.7g}" for each in set(thresholds) - expected}
    assert digits <= {f"0.{'9' * nines}" for nines in range(1, 7)} | {
        *("0.1", "0.2", "0.3", "0.4", "0.6", "0.7", "0.8", "0.95", "0.98", "0.995", "0.123")
    }
    assert {"0.1", "0.9", "0.95", "0.123"} <= digits
    assert thresholds[-1] < 1


def test_memory_does_not_grow_with_the_survey(search):
    settings, _ = search
    rng, rows = np.random.default_rng(4), 8_000
    cuts, peaks, numbers = Cuts((), {(): 0.9}), [], (3, 9)
    chunk = pd.DataFrame({"id": [f"9010-1-{number}" for number in range(rows)]})
    chunk = chunk.assign(brick=BRICKS[3], region="south", ra=20.0, dec=5.0, flags=np.int32(0))
    parent = chunk[["id"]].assign(type="DEV", mag_z=np.float32(19), nobs_z=np.int16(4))
    names = [f"4-{number:06d}" for number in range(max(numbers))]
    passed = 0
    for name in names:
        chunk["p"] = rng.random(rows, np.float32)
        passed += int((chunk["p"] >= np.float32(0.9)).sum())
        write_table(chunk, settings.paths.scores(name))
        write_table(parent, settings.paths.parent(name))
    for number in numbers:
        bricks = pd.DataFrame({"brick": BRICKS[3], "chunk": names[:number]})
        write_table(bricks, settings.paths.bricks)
        training = TrainingSample(settings.paths.sample, ["train"], of_other_run=False)
        flags = settings.candidates.reject_flags
        population = RandomGalaxies.read(
            settings.paths, training, settings.sample, flags, simulated=False
        )
        tracemalloc.start()
        found = count_search(settings.paths, "z", cuts, population)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert next(found.at_cuts.groups())[2].tolist() == [rows * numbers[1] - passed, passed]
    assert found.searched.sum() == rows * numbers[1]
    assert peaks[1] < 1.3 * peaks[0]
