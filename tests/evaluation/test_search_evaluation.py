"""Tests of lenspipe.evaluation.search."""

import json
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from helpers.scored_run import BRICKS, CHUNK, TRAINING_BRICKS, make_run, make_settings, write_table
from PIL import Image
from sklearn.metrics import roc_auc_score

from lenspipe.candidates.find import find_candidates
from lenspipe.evaluation import search as evaluation
from lenspipe.evaluation.search import evaluate
from lenspipe.products.truth import lenses_shown
from lenspipe.statistics.intervals import binomial_interval
from lenspipe.utils.errors import LenspipeError


@pytest.fixture
def drawn_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(candidates={"threshold": 0.8})
    return settings, make_run(settings, per_brick=90)


@pytest.fixture
def run(drawn_run, monkeypatch):
    # Figures take a second each; they are drawn in tests of their own.
    monkeypatch.setattr(evaluation, "figures", Mock())
    return drawn_run


def test_metrics_are_of_the_test_bricks_alone(run):
    settings, scores = run
    # What training saw must not matter.
    scores.loc[scores["brick"].isin(TRAINING_BRICKS), "p"] = np.float32(0.99)
    write_table(scores, settings.paths.scores(CHUNK))
    metrics = evaluate(settings)
    assert json.loads(settings.paths.evaluation("metrics.json").read_text()) == metrics
    test = scores[scores["brick"].isin(BRICKS[2:])].merge(
        pd.read_parquet(settings.paths.truth).drop(columns=["ra", "dec", "brick"]), on="id"
    )
    lens = test["kind"] == "lens"
    visible = test["visible"]
    assert metrics["n_bricks"] == 2
    assert metrics["n_lenses"] == lens.sum() == 60
    assert metrics["n_visible_lenses"] == visible.sum()
    assert metrics["n_nonlenses"] == 120
    assert metrics["auc"] == pytest.approx(roc_auc_score(lens, test["p"]))
    keep = visible | ~lens
    assert metrics["auc_visible"] == pytest.approx(roc_auc_score(lens[keep], test["p"][keep]))
    # 1 % of 120: one false positive is allowed.
    cut = np.sort(test["p"][~lens])[-2]
    assert metrics["completeness_fpr01"] == pytest.approx((test["p"][visible] > cut).mean())
    assert metrics["completeness_fpr01_low"] < metrics["completeness_fpr01"]
    assert metrics["completeness_fpr01"] < metrics["completeness_fpr01_high"]
    assert metrics["completeness_fpr001"] is None
    above = test["p"] >= 0.8
    assert metrics["completeness_threshold"] == pytest.approx(above[visible].mean())
    assert metrics["purity_threshold"] == pytest.approx(lens[above].mean())
    by_kind = metrics["false_positive_rate_by_kind"]
    assert set(by_kind) == {"elliptical", "spiral", "ring", "merger"}
    rate = sum(kind["n"] * kind["threshold"] for kind in by_kind.values()) / 120
    assert metrics["false_positive_rate_threshold"] == pytest.approx(rate)


def test_rates_are_quoted_at_the_cut_in_use_with_intervals(run):
    settings, scores = run
    metrics = evaluate(settings)
    test = scores[scores["brick"].isin(BRICKS[2:])].merge(
        pd.read_parquet(settings.paths.truth)[["id", "kind", "visible"]], on="id"
    )
    above, lens = (test["p"] >= np.float32(0.8)).to_numpy(), (test["kind"] == "lens").to_numpy()
    for name, passes in (
        ("completeness", above[test["visible"]]),
        ("false_positive_rate", above[~lens]),
        ("purity", lens[above]),
    ):
        value, low, high = (metrics[f"{name}_threshold{end}"] for end in ("", "_low", "_high"))
        assert value == passes.mean()
        assert (low, high) == pytest.approx(binomial_interval(passes.sum(), len(passes)))
    assert metrics["auc_low"] < metrics["auc"] < metrics["auc_high"] < 1


@pytest.mark.parametrize("n_bricks", [3, 60])
def test_scores_of_a_few_bricks_do_not_follow_exposures_by_chance(n_bricks):
    rng = np.random.default_rng(5)
    below = []
    for _ in range(150):
        brick = np.repeat(np.arange(n_bricks), 300 if n_bricks == 3 else 20)
        p = rng.normal(rng.normal(0, 0.3, n_bricks)[brick], 1)
        nobs = rng.integers(3, 9, n_bricks)[brick] + rng.integers(0, 2, len(brick))
        table = pd.DataFrame({"p": p, "nobs": nobs, "brick": brick})
        result = evaluation._correlate_with_exposures(table)
        below.append(result["p_value"] is not None and result["p_value"] < 0.05)
        assert result["n_bricks"] == n_bricks
    # As if galaxies were independent, it would be half of all such runs with three bricks.
    assert np.mean(below) < 0.1
    assert (result["min_p_value"] < 0.05) == (n_bricks == 60)


def test_bins_hold_each_lens_once(run):
    settings, _ = run
    metrics = evaluate(settings)
    truth = pd.read_parquet(settings.paths.truth)
    test = truth[truth["brick"].isin(BRICKS[2:])]
    by_radius, by_snr = metrics["completeness_by_theta_e"], metrics["completeness_by_arc_snr"]
    assert sum(bin_["n"] for bin_ in by_radius) == test["visible"].sum()
    assert sum(bin_["n"] for bin_ in by_snr) == test["visible"].sum()
    filled = [bin_ for bin_ in by_radius + by_snr if bin_["n"]]
    assert all(bin_["low"] <= bin_["completeness"] <= bin_["high"] for bin_ in filled)
    # Above 1.2" both the bins and the headline are of the quoted lenses.
    found = sum(
        bin_["n"] * bin_["completeness"] for bin_ in by_radius if bin_["from"] >= 1.2 and bin_["n"]
    )
    assert found / metrics["n_visible_lenses"] == pytest.approx(metrics["completeness_threshold"])


def test_figures_and_mistakes_are_drawn(drawn_run):
    settings, _ = drawn_run
    evaluate(settings)
    for name in ("roc", "completeness", "scores", "missed", "false"):
        with Image.open(settings.paths.evaluation(f"{name}.png")) as image:
            assert image.width > 500
    first = settings.paths.evaluation("roc.png").read_bytes()
    evaluate(settings)
    assert settings.paths.evaluation("roc.png").read_bytes() == first


def test_a_flagged_or_unscored_lens_is_not_found(run):
    settings, scores = run
    test = scores["brick"].isin(BRICKS[2:])
    lens = scores["objid"] % 3 == 0
    scores["p"] = np.where(lens, 0.99, 0.01)
    lenses = scores.index[test & lens]
    scores.loc[lenses[:30], "flags"] = 1
    scores.loc[lenses[30:], "p"] = np.nan
    write_table(scores.astype({"p": np.float32}), settings.paths.scores(CHUNK))
    metrics = evaluate(settings)
    assert metrics["completeness_threshold"] == 0
    assert metrics["n_above_threshold"] == 0
    assert metrics["purity_threshold"] is None
    assert metrics["auc"] == pytest.approx(0.5)


def test_galaxies_without_truth_are_other_non_lenses(run):
    settings, _ = run
    truth = pd.read_parquet(settings.paths.truth)
    write_table(truth[truth["kind"] != "spiral"], settings.paths.truth)
    metrics = evaluate(settings)
    assert metrics["n_nonlenses"] == 120
    assert "other" in metrics["false_positive_rate_by_kind"]


def test_too_few_non_lenses_leave_the_rate_unmeasured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "figures", Mock())
    settings = make_settings()
    make_run(settings, per_brick=30)
    metrics = evaluate(settings)
    assert metrics["n_nonlenses"] == 40
    assert metrics["completeness_fpr01"] is metrics["completeness_fpr01_high"] is None
    assert metrics["completeness_fpr10"] is not None


def judged_by_labels():
    """Settings and sample of the run as a search of real data, in which there is no truth."""
    real = make_settings(
        simulation=None, survey={"tree": "survey"}, sample={"known_lenses": "lenses.csv"}
    )
    sample = pd.read_parquet(real.paths.sample)
    sample.loc[sample.index % 5 == 1, "class"] = "injected"
    write_table(sample, real.paths.sample)
    real.paths.truth.unlink()
    return real, sample


def test_labelled_galaxies_without_a_score_are_counted(run, caplog):
    settings, scores = run
    real, sample = judged_by_labels()
    caplog.set_level("INFO")
    evaluate(real)
    assert "were not scored" not in caplog.text
    labelled = sample[(sample["split"] == "test") & (sample["class"] != "injected")]
    write_table(scores[~scores["id"].isin(labelled["id"].iloc[:3])], settings.paths.scores(CHUNK))
    evaluate(real)
    assert "3 of the test split were not scored" in caplog.text


def test_real_data_are_judged_by_their_labels(drawn_run):
    _, scores = drawn_run
    real, sample = judged_by_labels()
    metrics = evaluate(real)
    judged = sample[(sample["split"] == "test") & (sample["class"] != "injected")].merge(
        scores, on="id"
    )
    assert metrics["judged_by"] == "labels"
    assert metrics["n_lenses"] + metrics["n_nonlenses"] == len(judged) < 180
    assert metrics["auc"] == pytest.approx(roc_auc_score(judged["label"], judged["p"]))
    assert "completeness_by_theta_e" not in metrics
    for name in ("mag", "nobs"):
        bins = metrics[f"completeness_by_{name}"]
        assert sum(bin_["n"] for bin_ in bins) == metrics["n_lenses"]
    assert real.paths.evaluation("completeness.png").exists()
    assert real.paths.evaluation("missed.png").exists()


@pytest.mark.parametrize(("keep_lenses", "lacking"), [(True, "non-lens"), (False, "lens")])
def test_one_class_alone_can_not_be_judged(run, keep_lenses, lacking):
    settings, scores = run
    kept = (scores["objid"] % 3 == 0) == keep_lenses
    write_table(scores[kept], settings.paths.scores(CHUNK))
    with pytest.raises(LenspipeError, match=f"found no {lacking} among"):
        evaluate(settings)


def test_training_on_every_brick_is_refused(run):
    settings, _ = run
    sample = pd.read_parquet(settings.paths.sample).assign(split="validation")
    write_table(sample, settings.paths.sample)
    with pytest.raises(LenspipeError, match="expected bricks that training never saw"):
        evaluate(settings)


def test_the_cut_of_the_candidates_is_judged_whatever_their_rule(run):
    _, scores = run
    own = {"threshold": {"by": "number", "value": 9, "per": "type"}}
    settings = make_settings(candidates=own)
    with pytest.raises(LenspipeError, match=r"cuts\.json: no such file"):
        evaluate(settings)
    table = find_candidates(settings)
    cut = table["p"].min()
    metrics = evaluate(settings)
    assert metrics["threshold"] == cut
    test = scores[~scores["brick"].isin(TRAINING_BRICKS)]
    assert metrics["n_above_threshold"] == (test["p"] >= np.float32(cut)).sum()


def test_sources_near_the_images_of_a_lens_count_as_the_lens(run):
    settings, scores = run
    truth = pd.read_parquet(settings.paths.truth)
    test = scores["brick"].isin(BRICKS[2:]).to_numpy()
    lens = truth.loc[test & truth["visible"]].iloc[0]
    near, far = truth.index[test & (truth["kind"] != "lens")][:2]
    # The images reach theta_E (1 + beta); 3 arcsec more belong to the lens.
    reach = (lens["theta_e_arcsec"] * (1 + lens["beta"]) + 3) / 3600
    truth.loc[[near, far], "ra"] = lens["ra"]
    truth.loc[near, "dec"] = lens["dec"] + 0.98 * reach
    truth.loc[far, "dec"] = lens["dec"] - 1.02 * reach
    write_table(truth, settings.paths.truth)
    assert lenses_shown(settings.paths.truth) == {truth["id"][near]: lens["id"]}
    scores["p"] = 0.0
    scores.loc[scores["id"] == truth["id"][near], "p"] = 1.0
    write_table(scores.astype({"p": np.float32}), settings.paths.scores(CHUNK))
    metrics = evaluate(settings)
    assert metrics["n_nonlenses"] == 119
    assert metrics["false_positive_rate_threshold"] == 0
    assert metrics["n_above_threshold"] == metrics["purity_threshold"] == 1
    one = 1 / metrics["n_visible_lenses"]
    assert metrics["completeness_threshold"] == pytest.approx(one)
