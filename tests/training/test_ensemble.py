"""Ensembles: one model of several, the stacker, and what combining adds."""

import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lenspipe.config.settings import load_settings
from lenspipe.models.contents import normalisation
from lenspipe.models.layers import Median
from lenspipe.models.registry import build
from lenspipe.models.stacker import stacker
from lenspipe.scoring.score import load_model, load_model_for_run, score_images
from lenspipe.statistics import gain as gains
from lenspipe.statistics.metrics import auc, completeness_at_fpr
from lenspipe.training import ensemble, ensemble_report, stacking
from lenspipe.training.stacking import fit_stacker
from lenspipe.utils.errors import LenspipeError

NAMES = ["a", "b", "image"]  # the last is what Keras' input is called elsewhere
SIZE = 21
NETWORK = {"widths": [4], "units": 1, "stem_filters": 4, "stem_stride": 2, "compress": True}


def configure(combine="mean", names=NAMES, **config):
    members = {name: {"seed": i} for i, name in enumerate(names)}
    config = {
        "run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]},
        "cutouts": {"size": SIZE}, "training": {"name": "all", "network_settings": NETWORK},
        "ensemble": {"combine": combine, "members": members},
    } | config  # fmt: skip
    return load_settings(config)


def some_images():
    return np.random.default_rng(1).normal(0, 0.01, (40, 3, SIZE, SIZE)).astype(np.float32)


def scores_of(label, rng, sharpness):
    """Probabilities of two members whose mistakes are partly the same."""
    truth = sharpness * (label - 0.5)
    shared = rng.normal(size=len(label))
    logits = [truth + 0.7 * shared + rng.normal(0, width, len(label)) for width in (0.6, 0.9, 1.2)]
    return 1 / (1 + np.exp(-2 * np.stack(logits, axis=1) + 1))


def write_member(settings, name, p, table, refit=False, bands="grz", size=SIZE):
    """Write a member's files; its model is one of those made beforehand."""
    path = settings.paths.model(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made(NAMES.index(name), bands, size)[1])
    table.assign(p=p.astype(np.float32)).to_parquet(path.with_name("predictions.parquet"))
    notes = {"name": name, "network": "cmu_deeplens", "parameters": 1, "sample_version": 1}
    notes |= {"refit": refit, "val_auc": 0.9, "counts": {"train": {"lens": 3, "other": 4}}}
    path.with_name("training.json").write_text(json.dumps(notes))


@functools.cache
def made(number, bands, size):
    """A network without training, and its file."""
    model = build("cmu_deeplens", bands, size, **NETWORK)
    normalisation(model)[0].adapt((number + 1) * some_images()[:, : len(bands)])
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        return model, (Path(folder) / "model.keras").read_bytes()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Members without training, and predictions drawn at random: 3 x 500 galaxies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gains, "_RESAMPLED", 100)
    monkeypatch.setattr(stacking, "_EVALUATIONS", 10)
    monkeypatch.setattr(ensemble, "sample_version", lambda settings: 1)
    monkeypatch.setattr(ensemble, "plot_report", lambda *_: None)
    settings, rng = configure(), np.random.default_rng(3)
    n = 1500
    table = pd.DataFrame({"id": [f"9010-1-{i}" for i in range(n)], "label": np.zeros(n)})
    table["split"] = np.repeat(["validation", "test", "test"], n // 3)
    table.loc[::10, "label"] = 1
    p = scores_of(table["label"].to_numpy(), rng, 2.5)
    for i, name in enumerate(NAMES):
        write_member(settings, name, p[:, i], table)
    settings.paths.sample.parent.mkdir(parents=True)
    settings.paths.records_manifest.write_text(
        json.dumps({"version": 1, "shards": {"test-00000.tfrecord": {"frames_crc32": 7}}})
    )
    models = {name: made(i, "grz", SIZE)[0] for i, name in enumerate(NAMES)}
    return SimpleNamespace(table=table, p=p, models=models)


def combinations(models, images):
    return np.stack([np.ravel(models[name](images)) for name in NAMES], axis=1)


@pytest.mark.parametrize("how", ["mean", "median", "stacker"])
def test_model_gives_the_combination_of_its_members_and_needs_no_other_file(run, how, monkeypatch):
    monkeypatch.setattr(ensemble, "_can_fit_stacker", lambda label: False)
    settings = configure(how)
    ensemble.combine(settings)
    members = combinations(run.models, some_images())
    for name in NAMES:
        settings.paths.model(name).unlink()
    model = load_model_for_run(settings.model_path, "grz", SIZE)
    assert set(NAMES) < {layer.name for layer in model.layers}
    assert len(normalisation(model)) == len(NAMES)
    if how == "stacker":
        expected = model.get_layer("ensemble.stacker")(members).numpy()[:, 0]
    else:
        expected = getattr(np, how)(members, axis=1)
    np.testing.assert_allclose(model(some_images()).numpy()[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(score_images(model, some_images(), 16), expected, atol=1e-6)


def test_it_leaves_what_it_promises(run, monkeypatch):
    monkeypatch.setattr(ensemble, "plot_report", ensemble_report.plot_report)
    settings = configure("median")
    summary = ensemble.combine(settings)
    path = settings.paths.model("all")
    files = {"model.keras", "training.json", "config.yaml", "ensemble.json", "ensemble.png"}
    assert {file.name for file in path.parent.iterdir()} == files
    assert json.loads(path.with_name("training.json").read_text()) == summary
    assert load_settings(yaml.safe_load(path.with_name("config.yaml").read_text())) == settings
    assert summary["members"] == NAMES
    assert summary["network"] == "median of a, b, image"
    assert summary["sample_frames_crc32"] == {"test-00000.tfrecord": 7}
    assert summary["refit"] is False
    one = sum(int(np.prod(w.shape)) for w in run.models["a"].trainable_weights)
    assert summary["parameters"] == 3 * one
    rows = (run.table["split"] == "validation").to_numpy()
    lens = run.table["label"].to_numpy() > 0.5
    median = np.median(run.p.astype(np.float32), axis=1)
    assert summary["val_auc"] == pytest.approx(auc(median[rows & lens], median[rows & ~lens]))


def test_report_compares_on_the_test_split(run):
    settings = configure()
    ensemble.combine(settings)
    report = json.loads(settings.paths.model("all", "ensemble.json").read_text())
    rows = (run.table["split"] == "test").to_numpy()
    lens = run.table["label"].to_numpy() > 0.5
    assert (report["judged_on"], report["n_lenses"], report["n_nonlenses"]) == ("test", 100, 900)
    p = run.p.astype(np.float32)
    key = "completeness_fpr_1e-2"
    for i, name in enumerate(NAMES):
        lenses, others = p[rows & lens, i], p[rows & ~lens, i]
        found = report["of_members"][name]
        assert found["auc"] == pytest.approx(auc(lenses, others))
        assert found[key] == completeness_at_fpr(lenses, others, 0.01)[0]
        assert found[key + "_low"] < found[key] < found[key + "_high"]
        assert found["completeness_fpr_1e-3"] is None  # 900 non-lenses can't tell
    assert report["best_member"] == "a"
    assert report["best_member_chosen_on"] == "validation"
    assert set(report["of_combinations"]) == {"mean", "median", "stacker"}
    for name, gain in report["gain_over_best_member"].items():
        expected = report["of_combinations"][name][key] - report["of_members"]["a"][key]
        assert gain[key] == pytest.approx(expected)
        assert gain[key + "_low"] <= gain[key] <= gain[key + "_high"]
    pair = report["agreement"][0]
    assert pair["members"] == ["a", "b"]
    logits = np.log(p / (1 - p)).astype(float)[rows & lens]
    correlation = np.corrcoef(logits[:, 0], logits[:, 1])[0, 1]
    assert pair["lenses"]["pearson_logit"] == pytest.approx(correlation, abs=1e-4)
    cuts = [completeness_at_fpr(p[rows & lens, i], p[rows & ~lens, i], 0.01)[1] for i in (0, 1)]
    missed = p[rows & lens, :2] <= cuts
    assert pair["missed_fpr_1e-2"]["missed_by_both"] == missed.all(axis=1).sum()
    assert pair["missed_fpr_1e-2"]["shared"] == missed.all(axis=1).sum() / missed.any(axis=1).sum()


def test_stacker_is_fitted_to_the_validation_split_only(run):
    settings = configure("stacker")
    ensemble.combine(settings)
    first = load_model(settings.paths.model("all")).get_layer("ensemble.stacker").get_weights()
    for i, name in enumerate(NAMES):
        turned = np.where(run.table["split"] == "test", 1 - run.p[:, i], run.p[:, i])
        write_member(settings, name, turned, run.table)
    ensemble.combine(settings)
    second = load_model(settings.paths.model("all")).get_layer("ensemble.stacker").get_weights()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_validation_scores_of_the_stacker_are_of_galaxies_left_out(run):
    # Without a test split the report is on what the stacker was fitted to.
    rng = np.random.default_rng(0)
    settings = configure("stacker", sample={"fractions": [0.8, 0.2]})
    table = run.table[run.table["split"] == "validation"]
    for name in NAMES:
        write_member(settings, name, rng.uniform(size=len(table)), table)
    ensemble.combine(settings)
    report = json.loads(settings.paths.model("all", "ensemble.json").read_text())
    assert report["judged_on"] == "validation"
    assert report["of_combinations"]["stacker"]["auc"] == pytest.approx(0.5, abs=0.12)


def test_stacker_of_hundreds_is_no_worse_than_a_member_elsewhere():
    rng = np.random.default_rng(5)
    label, elsewhere = np.repeat([1.0, 0.0], [30, 300]), np.repeat([1.0, 0.0], [2000, 20000])
    p, other = scores_of(label, rng, 4)[:, :2], scores_of(elsewhere, rng, 4)[:, :2]
    model, left_out, steps = fit_stacker(p, label)
    stacked = model(other.astype(np.float32)).numpy()[:, 0]
    areas = [auc(q[:2000], q[2000:]) for q in (stacked, other[:, 0], other[:, 1])]
    assert areas[0] > max(areas[1:]) - 0.005
    # Its probabilities are of the sample's own balance: a twelfth are lenses.
    assert stacked.mean() == pytest.approx(1 / 11, abs=0.03)
    assert steps < 500
    assert auc(left_out[:30], left_out[30:]) > 0.9


def test_stacker_has_the_published_size_and_is_the_same_each_time(monkeypatch):
    monkeypatch.setattr(stacking, "_EVALUATIONS", 10)
    model = stacker()
    assert [layer.output.shape[1] for layer in model.layers] == [2, 300, 1]
    assert model.count_params() == 2 * 300 + 300 + 301
    rng = np.random.default_rng(6)
    label = np.repeat([1.0, 0.0], [20, 80])
    p = scores_of(label, rng, 3)[:, :2]
    fits = [fit_stacker(p, label, hidden=20, seed=2)[0].get_weights() for _ in range(2)]
    for one, other in zip(*fits, strict=True):
        np.testing.assert_array_equal(one, other)


def test_stacker_needs_lenses(run):
    settings = configure("stacker")
    few = run.table.copy()
    few.loc[few.index[few["split"] == "validation"][5:], "label"] = 0
    few.loc[few.index[few["split"] == "validation"][:5], "label"] = 1
    for i, name in enumerate(NAMES):
        write_member(settings, name, run.p[:, i], few)
    with pytest.raises(LenspipeError, match="found 5 lenses and 495 non-lenses in the valid"):
        ensemble.combine(settings)
    ensemble.combine(configure("mean"))
    report = json.loads(settings.paths.model("all", "ensemble.json").read_text())
    assert set(report["of_combinations"]) == {"mean", "median"}


def test_members_trained_on_the_validation_split_can_be_averaged(run):
    test = run.table["split"] == "test"
    settings = configure(training={"name": "all", "network_settings": NETWORK, "refit": True})
    for i, name in enumerate(NAMES):
        p = run.p[test.to_numpy(), i]
        write_member(settings, name, p, run.table[test], refit=True)
    summary = ensemble.combine(settings)
    assert summary["refit"] is True
    assert summary["val_auc"] is summary["val_loss"] is None
    report = json.loads(settings.paths.model("all", "ensemble.json").read_text())
    assert report["best_member_chosen_on"] == report["judged_on"] == "test"


def test_without_any_galaxy_to_judge_by_there_is_a_model_all_the_same(run):
    settings = configure(sample={"fractions": "none"})
    for name in NAMES:
        write_member(settings, name, np.zeros(0), run.table[:0])
    ensemble.combine(settings)
    report = json.loads(settings.paths.model("all", "ensemble.json").read_text())
    assert report["judged_on"] is None
    assert report["of_combinations"]["mean"]["auc"] is None
    assert report["gain_over_best_member"]["mean"]["auc_low"] is None
    assert settings.paths.model("all").exists()


@pytest.mark.parametrize(("bands", "size", "found"), [("gr", SIZE, "g,r and 21"),
                                                      ("grz", 33, "g,r,z and 33")])  # fmt: skip
def test_member_for_other_cutouts_is_refused(run, bands, size, found):
    write_member(configure(), "b", run.p[:, 1], run.table, bands=bands, size=size)
    with pytest.raises(LenspipeError, match=rf"b/model\.keras: made for cutouts of bands {found}"):
        ensemble.combine(configure())


def test_member_without_predictions_or_with_others_is_refused(run):
    settings = configure()
    write_member(settings, "b", run.p[1:, 1], run.table[1:])
    with pytest.raises(LenspipeError, match=r"b/predictions\.parquet: found 1499 galaxies other"):
        ensemble.combine(settings)
    settings.paths.model("b", "predictions.parquet").unlink()
    with pytest.raises(LenspipeError, match=r"b/predictions\.parquet: no such file"):
        ensemble.combine(settings)


def test_order_of_the_rows_does_not_matter(run):
    settings = configure()
    files = {name: settings.paths.model(name, "predictions.parquet") for name in NAMES}
    before = ensemble.read_predictions(files)
    shuffled = np.random.default_rng(0).permutation(len(run.table))
    write_member(settings, "b", run.p[shuffled, 1], run.table.iloc[shuffled])
    pd.testing.assert_frame_equal(ensemble.read_predictions(files), before)


def test_a_gain_that_both_models_share_has_no_width():
    rng = np.random.default_rng(0)
    lenses, others = rng.normal(2, 1, 200), rng.normal(0, 1, 2000)
    same = [np.stack([p, p + 1], axis=1) for p in (lenses, others)]
    measured = gains.measure_gain(*same, ensemble_report.RATES, seed=1)
    assert {measured[key] for key in measured if "1e-2" in key or "auc" in key} == {0.0}
    better = [np.stack([p, q], axis=1) for p, q in ((lenses, lenses + 3), (others, others))]
    measured = gains.measure_gain(*better, ensemble_report.RATES, seed=1)
    assert 0 < measured["completeness_fpr_1e-2_low"] < measured["completeness_fpr_1e-2"]


@hypothesis_settings(max_examples=25, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(2, 5), st.just(4)),
              elements=st.floats(0, 1, width=32)))  # fmt: skip
def test_median_is_numpys(members):
    found = Median()([member[:, None] for member in members]).numpy()[:, 0]
    np.testing.assert_allclose(found, np.median(members, axis=0), atol=1e-7)
