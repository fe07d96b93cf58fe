"""Tests of lenspipe.checks: each way to spoil a run turns its own check red, and no other."""

import contextlib
import json
import re
import shutil
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_table, write_cutouts
from scipy.stats import norm, t

from lenspipe.candidates.find import find_candidates
from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.checks.drift import Drift, _compare
from lenspipe.checks.page import COLUMNS
from lenspipe.checks.run import run_checks
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.checks import describe_checks
from lenspipe.products.manifests import write_manifest
from lenspipe.sample.report import report_sample
from lenspipe.sample.shards import write_sample
from lenspipe.statistics.association import correlate_within_strata, sky_patches
from lenspipe.status.summary import summarise
from lenspipe.utils.errors import LenspipeError

SIZE, PER_BRICK = 21, 60
NAMES = ["depth leak", "north and south", "leakage", "drift", "duplicates"]
#: Columns of bricks -> split. Each brick is in a cell of its own.
SPLIT = ["train", "train", "validation", "train", "train", "test"]
CONFIG = {
    "run": "fake", "simulation": {}, "footprint": {"ra": [150, 152], "dec": [30, 31]},
    "cutouts": {"size": SIZE}, "sample": {"split_nside": 512},
}  # fmt: skip


def draw_run(settings, rng):
    """Write a run of six columns of four bricks, two of them in the north, in three chunks.

    A sixth of the galaxies are known lenses; with two others each they are the sample.
    """
    paths, bricks, tables = settings.paths, [], []
    for i in range(24):
        column, row = divmod(i, 4)
        brick, ra0, dec0 = f"{1500 + i}p300", 150 + 0.3 * column, 30 + 0.25 * row
        region, chunk = ("south", "north")[row // 2], f"64-{column // 2:06d}"
        bricks.append({"brick": brick, "brickid": 1500 + i, "region": region, "ra": ra0,
                       "dec": dec0, "chunk": chunk})  # fmt: skip
        x, y = np.divmod(np.arange(PER_BRICK), 8)
        table = make_table(brick, ra0 - 0.1 + 0.028 * x, dec0 - 0.1 + 0.028 * y, rng)
        for band in "grz":
            table[f"galdepth_{band}"] = np.float32(100) * table[f"nobs_{band}"]
        table["region"] = region
        images = rng.normal(size=(PER_BRICK, 3, SIZE, SIZE)).astype("f4")
        write_cutouts(paths.cutouts(brick), images, table)
        tables.append(table.assign(chunk=chunk, split=SPLIT[column]))
    pd.DataFrame(bricks).to_parquet(paths.bricks)
    everything = pd.concat(tables, ignore_index=True)
    paths.parent("x").parent.mkdir()
    paths.scores("x").parent.mkdir()
    for chunk, table in everything.groupby("chunk"):
        table.drop(columns=["flags", "chunk", "split"]).to_parquet(paths.parent(chunk))
        entry = {"status": "done", "count": PER_BRICK, "hash": ""}
        write_manifest(paths.manifest("cutouts", chunk), dict.fromkeys(table["brick"], entry))
    lens = everything["objid"] % 6 == 0
    paths.known_lenses.parent.mkdir()
    everything[lens][["ra", "dec"]].to_csv(paths.known_lenses, index=False)
    kinds = np.where(lens, "lens", "elliptical")
    truth = everything[["id", "ra", "dec"]].assign(kind=kinds, visible=kinds == "lens")
    truth = truth.assign(theta_e_arcsec=1.5, beta=0.4, primary=True)
    truth.to_parquet(paths.truth)
    merge_known(settings)
    score(settings, everything, rng.normal(3.0 * lens - 3, 1.5))
    sample = everything[everything["objid"] % 6 < 3].assign(label=lens.astype("f4"))
    sample["class"] = np.where(sample["label"] > 0.5, "lens", "random")
    label_anew(settings, sample.assign(grade="", references=""))
    return everything


def score(settings, galaxies, logit):
    """Write scores and choose candidates."""
    p = (1 / (1 + np.exp(-np.asarray(logit)))).astype("f4")
    columns = ["id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "flags"]
    scores = galaxies[columns].assign(p_resnet=p, p=p)
    for chunk, table in scores.groupby(galaxies["chunk"]):
        table.to_parquet(settings.paths.scores(chunk), index=False)
    model = settings.paths.model("resnet")
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(b"a model")
    find_candidates(settings)


def label_anew(settings, sample):
    """Write the labelled sample, its records and its report, of which only numbers are read."""
    columns = [name for name in sample if not name.startswith(("mag_", "nobs_", "galdep", "psfs"))]
    sample = sample[columns].assign(exposures=sample["nobs_z"])
    split_of = dict(zip(sample["brick"], sample["split"], strict=True))
    cutouts = CutoutFiles.of(settings)
    given = {"dtype": settings.records.dtype, "seed": settings.seed}
    lenses = pd.DataFrame({"name": []})
    write_sample(sample, lenses, split_of, cutouts, settings.injection, **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenspipe.sample.report.figures", Mock())
        patch.setattr("lenspipe.sample.report._draw_mosaics", lambda *_: [])
        report_sample(settings)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    with contextlib.chdir(folder):
        settings = load_settings(CONFIG)
        yield folder, settings, draw_run(settings, np.random.default_rng(3))


@pytest.fixture
def run(drawn, tmp_path, monkeypatch):
    """Settings, galaxies and logits of a sound run."""
    folder, settings, galaxies = drawn
    shutil.copytree(folder / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return settings, galaxies, logits(settings)


def logits(settings):
    scores = [pd.read_parquet(settings.paths.scores(f"64-{i:06d}")) for i in range(3)]
    p = pd.concat(scores)["p"].to_numpy(np.float64)
    return np.log(p / (1 - p))


def statuses(report):
    assert [check["check"] for check in report["checks"]] == NAMES
    return {check["check"]: check["status"] for check in report["checks"]}


def found(report, name):
    return next(check for check in report["checks"] if check["check"] == name)


def expect_red(report, *names):
    expected = {name: "red" if name in names else "green" for name in NAMES}
    assert statuses(report) == expected, [check["why"] for check in report["checks"]]
    assert report["red"] == [name for name in NAMES if name in names]


def test_a_sound_run_is_green(run, caplog):
    settings, *_ = run
    with caplog.at_level("INFO", logger="lenspipe"):
        report = run_checks(settings)
    expect_red(report)
    paths = settings.paths
    assert json.loads(paths.checks("checks.json").read_text()) == report
    page = paths.checks("checks.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in NAMES)
    columns = {name for check in report["checks"] for row in check["parts"] for name in row}
    assert columns <= set(COLUMNS)
    assert "<th>p-value of the ratio</th>" in page
    assert not re.search(r"<th>(enough|judged|p_rates)</th>", page)
    assert len(pd.read_csv(paths.checks("drift.csv"))) == 0
    assert paths.checks("drift.png").exists()
    assert caplog.text.count(": green: ") == 5
    assert found(report, "depth leak")["number"] < found(report, "depth leak")["bar"] == 0.1
    # Lenses and what was trained on are no random galaxies that were never trained on.
    regions = found(report, "north and south")["parts"]
    assert sum(part["n_random"] for part in regions) == 24 * 30 + 8 * 20
    assert describe_checks(report) == "5 green"


@pytest.mark.parametrize(("seed", "scatter"), [(0, 0.4), (1, 0.4), (2, 1), (3, 1), (4, 1)])
def test_sound_runs_stay_green_whatever_bricks_are_like(run, seed, scatter):
    settings, galaxies, logit = run
    rng = np.random.default_rng(seed)
    bricks = dict(zip(galaxies["brick"].unique(), rng.normal(0, scatter, 24), strict=True))
    score(settings, galaxies, rng.permutation(logit) + galaxies["brick"].map(bricks))
    expect_red(run_checks(settings))


@pytest.mark.parametrize(("column", "sign"), [("nobs_z", 1), ("nobs_z", -1), ("galdepth_g", 1)])
def test_scores_that_follow_depth(run, column, sign):
    settings, galaxies, logit = run
    values = galaxies[column] / galaxies[column].std()
    score(settings, galaxies, logit + sign * values)
    report = run_checks(settings)
    expect_red(report, "depth leak")
    assert found(report, "depth leak")["number"] > 0.3
    name = {"nobs_z": "exposures z", "galdepth_g": "depth g"}[column]
    assert f"scores follow {name}" in found(report, "depth leak")["why"]


def test_seeing_that_only_differs_between_bricks(run):
    settings, galaxies, logit = run
    seeing = galaxies["brick"].str[:4].astype(int) % 7
    for chunk, table in galaxies.groupby("chunk"):
        path = settings.paths.parent(chunk)
        values = (1 + 0.1 * seeing[table.index]).to_numpy(np.float32)
        pd.read_parquet(path).assign(psfsize_g=values).to_parquet(path)
    score(settings, galaxies, logit - 0.5 * seeing)
    report = run_checks(settings)
    expect_red(report, "depth leak")
    assert "scores follow seeing g" in found(report, "depth leak")["why"]


def test_a_sample_whose_classes_differ_in_depth(run):
    settings, galaxies, _ = run
    sample = galaxies[(galaxies["objid"] % 6 == 0) == (galaxies["nobs_z"] >= 5)]
    sample = sample.assign(label=(sample["objid"] % 6 == 0).astype("f4"), grade="", references="")
    sample["class"] = np.where(sample["label"] > 0.5, "lens", "random")
    label_anew(settings, sample)
    report = run_checks(settings)
    expect_red(report, "depth leak")
    assert "lenses and non-lenses differ in exposures z" in found(report, "depth leak")["why"]


def test_a_network_that_fires_in_the_north(run):
    settings, galaxies, logit = run
    score(settings, galaxies, logit + 3 * (galaxies["region"] == "north"))
    report = run_checks(settings)
    expect_red(report, "north and south")
    assert found(report, "north and south")["number"] > 3


def test_a_region_without_non_lenses_in_training(run):
    settings, *_ = run
    sample = pd.read_parquet(settings.paths.sample)
    train, lens = sample["split"] == "train", sample["label"] > 0.5
    label_anew(settings, sample[~train | lens | (sample["region"] == "south")])
    report = run_checks(settings)
    expect_red(report, "north and south")
    assert "no non-lens of the north" in found(report, "north and south")["why"]


def test_test_lenses_among_those_trained_on(run):
    settings, *_ = run
    sample = pd.read_parquet(settings.paths.sample)
    test = sample[(sample["split"] == "test") & (sample["label"] > 0.5)]
    label_anew(settings, pd.concat([sample, test.assign(split="train")], ignore_index=True))
    report = run_checks(settings)
    expect_red(report, "leakage")
    counts = {part["what"]: part["number"] for part in found(report, "leakage")["parts"]}
    assert counts["galaxies in two splits"] == len(test) == 40
    assert counts["cells of the sky in two splits"] == 4
    assert counts["records of another split"] == 0
    assert counts["galaxies near one of another split"] == 0


def test_records_that_contradict_the_table(run):
    settings, *_ = run
    sample = pd.read_parquet(settings.paths.sample)
    # The table says so, the records don't: two galaxies of the training split that it has lost.
    at = sample.index[sample["split"] == "train"][:2]
    sample.drop(at).to_parquet(settings.paths.sample)
    report = run_checks(settings)
    expect_red(report, "leakage")
    assert found(report, "leakage")["number"] == 2


def test_injected_lenses_on_galaxies_that_are_judged_on(run):
    settings, *_ = run
    sample = pd.read_parquet(settings.paths.sample)
    hosts = sample[(sample["label"] < 0.5)].groupby("split").head(2)
    hosts = hosts.assign(id="injected:" + hosts["id"], label=np.float32(1), split="train")
    hosts["class"] = "injected"
    sample = pd.concat([sample, hosts], ignore_index=True)
    sample.to_parquet(settings.paths.sample)
    settings.paths.records_manifest.unlink()
    report = run_checks(settings)
    expect_red(report, "leakage")
    # Two hosts of each split; those of the training split are as they should be.
    assert found(report, "leakage")["number"] == 4


@pytest.mark.parametrize(("label", "arcsec", "near", "on"), [(0, 1.5, 2, 0), (1, 3.5, 0, 1)])
def test_galaxies_near_those_of_another_split(run, label, arcsec, near, on):
    settings, *_ = run
    sample = pd.read_parquet(settings.paths.sample)
    one = sample.index[(sample["split"] == "train") & (sample["label"] == label)][0]
    other = sample.index[(sample["split"] == "validation") & (sample["label"] == 0)][0]
    sample.loc[other, "ra"] = sample.loc[one, "ra"]
    sample.loc[other, "dec"] = sample.loc[one, "dec"] + arcsec / 3600
    sample.to_parquet(settings.paths.sample)
    report = run_checks(settings)
    expect_red(report, "leakage")
    counts = {part["what"]: part["number"] for part in found(report, "leakage")["parts"]}
    # Each of two is near the other; a cutout of 21 pixels reaches 3.9 arcsec.
    assert counts["galaxies near one of another split"] == near
    assert counts["galaxies with another split's lens on their cutout"] == on


def test_a_brick_that_is_off(run):
    settings, galaxies, logit = run
    score(settings, galaxies, logit + 4 * (galaxies["brick"] == "1509p300"))
    report = run_checks(settings)
    expect_red(report, "drift")
    off = pd.read_csv(settings.paths.checks("drift.csv"), dtype={"brick": str})
    assert set(off["brick"]) == {"1509p300"}
    assert off["n"].eq(PER_BRICK).all()
    assert off["region"].eq("south").all()
    level = off.set_index("statistic").loc["level"]
    assert level["deviation"] > 1
    assert level["z"] > 5
    assert found(report, "drift")["number"] == 1
    assert "1509p300" in settings.paths.checks("checks.html").read_text()


def test_a_chunk_that_is_off(run):
    settings, galaxies, _ = run
    rng, off = np.random.default_rng(0), galaxies["chunk"] == "64-000001"
    usual, own = rng.normal(-3, 2, len(off)), rng.normal(2, 0.5, len(off))
    score(settings, galaxies, np.where(off, own, usual))
    report = run_checks(settings)
    expect_red(report, "drift")
    table = pd.read_csv(settings.paths.checks("drift.csv"), dtype={"brick": str})
    chunks = table[table["brick"].isna()]
    assert set(chunks["chunk"]) == {"64-000001"}
    assert set(chunks["region"]) == {"north", "south"}


@pytest.mark.parametrize(("statistic", "factor"), [("level", 1), ("spread", 2)])
def test_errors_of_bricks_are_those_of_their_numbers(statistic, factor):
    bricks = np.arange(40)
    table = pd.DataFrame({"brick": bricks.astype(str), "region": "south", "chunk": "64-1"})
    table = table.assign(ra=150 + 0.3 * (bricks % 8), dec=30 + 0.3 * (bricks // 8), n=100)
    # Nothing but one brick differs from its neighbours: all scatter there is is by chance.
    table[statistic] = np.where(bricks == 20, 0.5, 0.0)
    rows = _compare(table, statistic, 8)
    assert rows["error"].to_numpy() == pytest.approx(np.sqrt(factor / 100))
    assert rows.loc[20, "z"] == pytest.approx(0.5 / np.sqrt(factor / 100))
    # Scatter beyond that of chance counts, too.
    table[statistic] += np.random.default_rng(1).normal(0, 0.5, 40)
    rows = _compare(table, statistic, 8)
    error = np.median(rows["deviation"].abs()) / norm.ppf(0.75)
    assert error > 0.3
    assert rows["error"].to_numpy() == pytest.approx(error, rel=1e-4)
    # Degrees of freedom are 0.37 times the number of deviations, and at least three.
    few = _compare(table.head(5), statistic, 8)
    for compared, degrees in ((rows, 0.37 * 40), (few, 3)):
        tails = 2 * t.cdf(-compared["z"].abs(), degrees)
        assert compared["p"].to_numpy() == pytest.approx(tails)


@pytest.mark.parametrize("n_chunks", [4, 16])
def test_errors_of_chunks_are_those_of_medians_or_their_own_scatter(n_chunks):
    chunks = np.arange(n_chunks).repeat(25)
    table = pd.DataFrame({"brick": np.arange(len(chunks)).astype(str), "region": "south", "n": 100})
    table = table.assign(chunk=chunks.astype(str), ra=150 + chunks, dec=30.0)
    # Bricks differ only by chance, chunks by much more.
    table["level"] = np.random.default_rng(5).normal(0, 0.5, n_chunks)[chunks]
    rows = _compare(table, "level", 0)
    rows = rows[rows["brick"] == ""]
    assert len(rows) == n_chunks
    deviations = rows["deviation"].abs()
    assert deviations.max() > 0.2
    expected = np.sqrt(np.pi / 2 / (100 * 25))
    if n_chunks == 16:
        expected = deviations.median() / norm.ppf(0.75)
        assert expected > 0.1
    assert rows["error"].to_numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n_off", [5, 6])
def test_five_outliers_are_listed(n_off):
    bricks = pd.DataFrame({"brick": [f"b{i:03d}" for i in range(100)], "region": "south"})
    bricks = bricks.assign(ra=150 + np.arange(100) % 10, dec=30.0 + np.arange(100) // 10)
    rng = np.random.default_rng(2)
    off = [11, 15, 18, 51, 55, 58][:n_off]
    p = rng.uniform(0, 0.5, (100, 30)).astype(np.float32)
    p[off] += np.float32(0.5)
    drift = Drift(load_settings(CONFIG).checks, np.sort(p.ravel()))
    drift.add("64-1", pd.DataFrame({"brick": bricks["brick"].repeat(30), "p": p.ravel()}))
    why = drift.result(bricks)[0]["why"]
    start = f"{n_off} of 100 bricks and 0 chunks differ strongly from their neighbours: "
    names, _, rest = why.removeprefix(start).partition(", ...")
    assert (len(names.split(", ")), rest) == (5, "")
    assert set(names.split(", ")) <= {f"b{i:03d}" for i in off}
    assert why.endswith(", ...") == (n_off == 6)


def test_a_brick_in_two_chunks(run):
    settings, *_ = run
    first, last = (settings.paths.scores(f"64-{i:06d}") for i in (0, 2))
    one, other = pd.read_parquet(first), pd.read_parquet(last)
    twice = one[one["brick"] == "1500p300"]
    pd.concat([other, twice.head(7)]).to_parquet(last, index=False)
    report = run_checks(settings)
    expect_red(report, "duplicates")
    assert found(report, "duplicates")["number"] == 7
    assert "7 galaxies scored twice" in found(report, "duplicates")["why"]


def test_galaxies_at_one_place_are_counted_and_not_judged(run):
    settings, *_ = run
    path = settings.paths.scores("64-000000")
    table = pd.read_parquet(path)
    table.loc[1, "ra"] = table.loc[0, "ra"]
    table.loc[1, "dec"] = table.loc[0, "dec"] + 0.9 / 3600
    # A pair across the edge of two bricks of two chunks: bricks end at multiples of a quarter.
    far = pd.read_parquet(settings.paths.scores("64-000002"))
    table.loc[2, ["ra", "dec"]] = [151.0, 30.375 - 0.2 / 3600]
    far.loc[2, ["ra", "dec"]] = [151.0, 30.375 + 0.2 / 3600]
    table.to_parquet(path)
    far.to_parquet(settings.paths.scores("64-000002"))
    report = run_checks(settings)
    expect_red(report)
    assert "2 pairs of scored galaxies within 1 arcsec" in found(report, "duplicates")["why"]


def test_galaxies_and_bricks_without_scores(run):
    settings, galaxies, logit = run
    logit[galaxies["brick"] == "1509p300"] = np.nan
    logit[::50] = np.nan
    score(settings, galaxies, logit)
    path = settings.paths.scores("64-000000")
    table = pd.read_parquet(path)
    table[table["brick"] != "1502p300"].to_parquet(path, index=False)
    report = run_checks(settings)
    expect_red(report)
    assert "none of 22 bricks" in found(report, "drift")["why"]


def keep(settings, galaxies, those):
    """Leave only some galaxies of a run."""
    paths, bricks = settings.paths, pd.read_parquet(settings.paths.bricks)
    bricks = bricks[bricks["brick"].isin(galaxies.loc[those, "brick"])]
    bricks.to_parquet(paths.bricks)
    for chunk in bricks["chunk"].unique():
        for path in (paths.scores(chunk), paths.parent(chunk)):
            table = pd.read_parquet(path)
            table[table["id"].isin(galaxies.loc[those, "id"])].to_parquet(path, index=False)
    sample = pd.read_parquet(paths.sample)
    sample[sample["id"].isin(galaxies.loc[those, "id"])].to_parquet(paths.sample)
    paths.records_manifest.unlink()
    find_candidates(settings)


def test_one_region(run):
    settings, galaxies, _ = run
    keep(settings, galaxies, galaxies["region"] == "north")
    report = run_checks(settings)
    assert statuses(report) == dict.fromkeys(NAMES, "green") | {"north and south": "not measured"}
    assert found(report, "north and south")["why"] == "the search has one region"
    assert describe_checks(report) == "4 green, 1 not measured"


def test_one_brick_is_too_little(run):
    settings, galaxies, _ = run
    keep(settings, galaxies, galaxies["brick"] == "1520p300")
    report = run_checks(settings)
    measured = ("leakage", "duplicates")
    assert statuses(report) == {n: "green" if n in measured else "not measured" for n in NAMES}
    assert "too few" in found(report, "depth leak")["why"]
    assert found(report, "drift")["number"] is None
    assert "no region has 5 bricks" in found(report, "drift")["why"]


def test_a_given_model_has_no_sample(run):
    settings, *_ = run
    shutil.rmtree(settings.paths.sample.parent)
    report = run_checks(load_settings(CONFIG | {"inference": {"model": "elsewhere.keras"}}))
    assert statuses(report) == dict.fromkeys(NAMES, "green") | {"leakage": "not measured"}
    # Without a sample all galaxies but the known lenses are random ones.
    assert sum(p["n_random"] for p in found(report, "north and south")["parts"]) == 24 * 50


def test_a_list_of_targets(run):
    _, galaxies, _ = run
    galaxies[["ra", "dec"]].to_csv("list.csv", index=False)
    config = {name: CONFIG[name] for name in ("run", "cutouts", "sample")}
    config |= {"targets": "list.csv", "survey": {"tree": "survey"}}
    report = run_checks(load_settings(config | {"inference": {"model": "elsewhere.keras"}}))
    expected = dict.fromkeys(NAMES, "not measured") | {"duplicates": "green"}
    assert statuses(report) == expected


def test_a_chunk_without_galaxies(run):
    settings, *_ = run
    for path in (settings.paths.scores("64-000000"), settings.paths.parent("64-000000")):
        pd.read_parquet(path).iloc[:0].to_parquet(path)
    report = run_checks(settings)
    expect_red(report)
    assert "none of 16 bricks and 0 chunks" in found(report, "drift")["why"]


def test_scores_that_are_missing(run):
    settings, *_ = run
    settings.paths.scores("64-000001").unlink()
    with pytest.raises(LenspipeError, match=r"64-000001\.parquet: no such file"):
        run_checks(settings)
    assert not settings.paths.checks("checks.json").exists()


def test_of_a_large_search_a_part_is_looked_at(run):
    settings, *_ = run
    report = run_checks(load_settings(CONFIG | {"checks": {"galaxies": 1000}}))
    expect_red(report)
    n_random = sum(p["n_random"] for p in found(report, "north and south")["parts"])
    assert n_random == pytest.approx((24 * 30 + 8 * 20) * 1000 / 1440, rel=0.1)
    assert run_checks(settings)["run"] == "fake"


def test_a_red_check_is_in_the_summary(run, caplog):
    settings, galaxies, logit = run
    score(settings, galaxies, logit + 4 * (galaxies["brick"] == "1509p300"))
    run_checks(settings)
    paths = settings.paths
    at_cut, rate = (
        [f"{name}{end}" for end in ("", "_low", "_high")]
        for name in ("completeness_threshold", "false_positive_rate")
    )
    for path, content in (
        (paths.evaluation("metrics.json"), dict.fromkeys((*at_cut, "auc_low", "auc_high")) |
         {"auc": None, "n_lenses": 1, "n_nonlenses": 1}),
        (paths.threshold, {"expected": dict.fromkeys((*rate, "n_nonlenses"))}),
        (paths.mosaic_index, {"n_candidates": 1, "pages": []}),
    ):  # fmt: skip
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    with caplog.at_level("INFO", logger="lenspipe"):
        summary = summarise(settings)
    assert summary["checks_red"] == ["drift"]
    assert "checks      4 green; RED: drift; see results/fake/checks/checks.html" in caplog.text


def test_patches_are_as_large_as_areas_of_equal_exposures():
    ra, dec = np.meshgrid(150 + np.arange(0, 2, 0.01), 30 + np.arange(0, 2, 0.01))
    patch = sky_patches(pd.DataFrame({"ra": ra.ravel(), "dec": dec.ravel()}))
    # 4 pi (180 / pi)^2 / (12 x 512^2) square degrees, and those that the edges cut.
    n_patches = 2 * 2 * np.cos(np.radians(31)) / 0.013114
    assert n_patches < len(np.unique(patch)) < 1.15 * n_patches
    centre = patch.reshape(ra.shape)[100, 100]
    ra_of, dec_of = ra.ravel()[patch == centre], dec.ravel()[patch == centre]
    assert np.ptp(dec_of) < 0.25
    assert np.ptp(ra_of) < 0.25


def test_association_of_patches():
    rng = np.random.default_rng(4)
    patch = np.repeat(np.arange(40), 25)
    x, y = rng.normal(size=(2, 1000))
    r, p, min_p = correlate_within_strata(x, y, np.zeros(1000), patch)
    assert r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert p > 0.01
    assert min_p < 1e-6
    # What all galaxies of a patch share counts once a patch.
    x, y = np.repeat(rng.normal(size=(2, 40)), 25, axis=1)
    alone = correlate_within_strata(x[::25], y[::25], np.zeros(40), np.arange(40))
    assert correlate_within_strata(x, y, np.zeros(1000), patch) == pytest.approx(alone)
    # Strata that differ in both are no association.
    stratum = np.arange(1000) % 2
    x, y = rng.normal(size=(2, 1000)) + 5 * stratum
    assert correlate_within_strata(x, y, stratum, patch)[1] > 0.01
    assert correlate_within_strata(x, y, np.zeros(1000), patch)[1] < 1e-6
    assert correlate_within_strata(np.ones(1000), y, stratum, patch) == (None, None, None)
    rounded = 1 + 1e-14 * rng.normal(size=1000)
    assert correlate_within_strata(rounded, y, stratum, patch) == (None, None, None)
    # Units do not matter.
    result = correlate_within_strata(x, y, stratum, patch)
    assert correlate_within_strata(1e-3 * x, 1e-3 * y, stratum, patch) == pytest.approx(result)


def test_p_of_an_association_is_right():
    rng = np.random.default_rng(5)
    patch, p = np.repeat(np.arange(60), 10), []
    for _ in range(400):
        shared = np.repeat(rng.normal(size=(2, 60)), 10, axis=1)
        x, y = shared + rng.normal(size=(2, 600))
        p.append(correlate_within_strata(x, y, np.zeros(600), patch)[1])
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)
