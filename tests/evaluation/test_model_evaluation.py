"""Tests of lenspipe.evaluation.model."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run
from PIL import Image
from sklearn.metrics import roc_auc_score

from lenspipe.config.settings import load_settings
from lenspipe.evaluation import model as assessment
from lenspipe.evaluation.model import assess, predict_held_out, show_mistakes
from lenspipe.evaluation.model_metrics import measure_split
from lenspipe.models.registry import build
from lenspipe.products.sample import read_images
from lenspipe.sample.build import build_sample
from lenspipe.scoring.score import load_model, predict
from lenspipe.statistics.calibration import fit_calibration, read_calibration
from lenspipe.statistics.intervals import binomial_interval
from lenspipe.statistics.metrics import auc_interval, completeness_at_true_rate
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

NETWORK = {"widths": [8], "units": 1, "stem_filters": 8, "stem_stride": 2, "compress": True}
NOTES = {
    "name": "small",
    "network": "cmu_deeplens",
    "parameters": 5000,
    "sample_version": 1,
    "refit": False,
    "val_auc": 0.87,
}
FIGURES = ("roc", "precision_recall", "threshold", "scores", "reliability", "missed", "false")


def cutouts_of(settings, rows):
    """Cutouts of rows of the labelled sample."""
    return read_images(settings.paths.sample, rows, 3, settings.cutouts.size)


def write_model(settings, epochs):
    """A network that has learnt a little."""
    model = build("cmu_deeplens", size=settings.cutouts.size, **NETWORK)
    sample = pd.read_parquet(settings.paths.sample)
    train = sample[sample["split"] == "train"].reset_index(drop=True)
    images = cutouts_of(settings, train)
    model.get_layer("normalise").adapt(images)
    keras.utils.set_random_seed(3)
    if epochs:
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        model.fit(images, train["label"].to_numpy(), batch_size=16, epochs=epochs, verbose=0)
    folder = settings.paths.model("small").parent
    folder.mkdir(parents=True)
    model.save(settings.paths.model("small"))
    (folder / "training.json").write_text(json.dumps(NOTES))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run with a trained model."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(8, 50, 12, 10, size=21, sample={"negatives_per_lens": 2})
        build_sample(settings)
        write_model(settings, epochs=6)
    return folder


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run)
    return configure()


@pytest.fixture
def no_figures(monkeypatch):
    for name in ("plot_figures", "draw_mistakes"):
        monkeypatch.setattr(assessment, name, lambda *args, **options: None)


def configure(**config):
    return load_settings(
        {"run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]},
         "cutouts": {"size": 21}, "sample": {"negatives_per_lens": 2},
         "training": {"name": "small"}, "candidates": {"threshold": 0.5},
         "inference": {"backend": "tensorflow"}} | config
    )  # fmt: skip


def read_predictions(settings):
    return pd.read_parquet(settings.paths.model("small", "predictions.parquet"))


def judge(settings):
    """Score the held-out galaxies, assess the model and show its mistakes."""
    predict_held_out(settings)
    show_mistakes(settings)
    return assess(settings)


def test_metrics_follow_from_the_predictions(settings):
    metrics = judge(settings)
    assert json.loads(settings.paths.model("small", "metrics.json").read_text()) == metrics
    assert {key: metrics[key] for key in NOTES if key != "val_auc"} == {
        key: value for key, value in NOTES.items() if key != "val_auc"
    }
    predictions = read_predictions(settings)
    assert set(predictions["split"]) == {"validation", "test"}
    for split, part in predictions.groupby("split"):
        lens = part["label"] == 1
        assert metrics[f"{split}_n_lenses"] == lens.sum() > 5
        assert metrics[f"{split}_n_nonlenses"] == (~lens).sum() > 10
        assert metrics[f"{split}_auc"] == pytest.approx(roc_auc_score(lens, part["p"]))
        assert metrics[f"{split}_auc"] > 0.6
        above = part["p"] >= 0.5
        assert metrics[f"{split}_completeness_threshold"] == above[lens].mean()
        assert metrics[f"{split}_fpr_threshold"] == above[~lens].mean()
        _, *ends = completeness_at_true_rate(part["p"][lens], part["p"][~lens], 0.1)
        assert metrics[f"{split}_completeness_fpr_1e-1_low"] == ends[0]
        assert metrics[f"{split}_completeness_fpr_1e-1_high"] == ends[1]
        assert metrics[f"{split}_completeness_fpr_1e-5"] is None
        assert metrics[f"{split}_inspect_per_lens_fpr_1e-5_high"] is None
    calibration = read_calibration(settings.paths.model("small", "calibration.json"))
    assert metrics["temperature"] == calibration.temperature
    expected = calibration.apply(predictions["p"]).astype(np.float32)
    np.testing.assert_array_equal(predictions["p_calibrated"], expected)
    for name in FIGURES:
        with Image.open(settings.paths.model("small", f"{name}.png")) as image:
            assert image.width > 500


def test_a_score_is_that_of_the_galaxy_with_its_id(settings, no_figures):
    judge(settings)
    predictions = read_predictions(settings)
    sample = pd.read_parquet(settings.paths.sample)
    held_out = sample[sample["split"] != "train"].reset_index(drop=True)
    p = predict(
        load_model(settings.paths.model("small")),
        cutouts_of(settings, held_out),
    )
    found = held_out[["id"]].merge(predictions, on="id", validate="1:1")
    np.testing.assert_allclose(found["p"], p, atol=1e-5)
    for column in ("label", "class", "grade", "region", "mag_z", "nobs_g", "ra"):
        assert found[column].tolist() == held_out[column].tolist()


def test_scores_are_those_of_the_search(settings, no_figures):
    judge(
        settings.model_copy(update={"inference": configure(inference={"symmetries": 8}).inference})
    )
    predictions = read_predictions(settings).head(3)
    rows = predictions[["id"]].merge(pd.read_parquet(settings.paths.sample), on="id")
    model = load_model(settings.paths.model("small"))
    p = predict(model, cutouts_of(settings, rows), symmetries=8)
    np.testing.assert_allclose(predictions["p"], p, atol=1e-5)


def test_truth_goes_into_the_bins(settings, no_figures):
    sample = pd.read_parquet(settings.paths.sample)
    lens = sample["label"] == 1
    truth = sample[["id"]].assign(
        theta_e_arcsec=np.where(lens, 1.3, np.nan), arc_snr=np.where(lens, 25.0, np.nan),
        ra=150.0 + np.arange(len(sample)), dec=0.0, beta=0.4, visible=lens, primary=True,
        kind=np.where(lens, "lens", "elliptical"),
    )  # fmt: skip
    pd.concat([truth, truth.head(3)]).to_parquet(settings.paths.truth)
    try:
        by = judge(settings)["test_by"]
    finally:
        settings.paths.truth.unlink()
    test = sample[sample["split"] == "test"]
    n_lenses = (test["label"] == 1).sum()
    filled = [bin_ for bin_ in by["theta_e"] if bin_["n_lenses"]]
    assert [(bin_["from"], bin_["to"], bin_["n_lenses"]) for bin_ in filled] == [
        (1.2, 1.5, n_lenses)
    ]
    assert filled[0]["false_positive_rate"] is None
    assert [bin_["from"] for bin_ in by["arc_snr"] if bin_["n_lenses"]] == [20]
    for name in ("type", "region", "class", "mag", "nobs"):
        assert sum(bin_["n_lenses"] for bin_ in by[name]) == n_lenses
        assert sum(bin_["n_nonlenses"] for bin_ in by[name]) == len(test) - n_lenses
    assert {bin_["value"] for bin_ in by["class"]} == set(test["class"])


def test_unlisted_lenses_of_a_simulated_sky_are_left_out(settings, no_figures, caplog):
    caplog.set_level("INFO", "lenspipe")
    sample = pd.read_parquet(settings.paths.sample)
    test = sample[sample["split"] == "test"]
    unlisted = test.loc[test["label"] == 0, "id"].head(3)
    known = test.loc[test["label"] == 1, "id"]
    truth = pd.DataFrame({"id": pd.concat([unlisted, known]), "arc_snr": 30.0})
    truth = truth.assign(theta_e_arcsec=1.5, ra=150.0 + np.arange(len(truth)), dec=0.0, beta=0.4)
    truth.assign(kind="lens", visible=True, primary=True).to_parquet(settings.paths.truth)
    try:
        metrics = judge(settings)
    finally:
        settings.paths.truth.unlink()
    assert "left out 3 lenses that no catalogue lists" in caplog.text
    assert metrics["test_n_lenses"] == len(known)
    assert metrics["test_n_nonlenses"] == len(test) - len(known) - 3
    assert not set(unlisted) & set(read_predictions(settings)["id"])


def test_a_model_trained_once_more_is_judged_as_it_was_before(settings, no_figures):
    before = read_predictions(settings) if judge(settings) else None
    model, first = (
        settings.paths.model("small", f"{name}.keras") for name in ("model", "validated")
    )
    first.write_bytes(model.read_bytes())
    again = keras.saving.load_model(model)
    again.get_layer("p").bias.assign_add([1.0])
    kept, notes = model.read_bytes(), settings.paths.model("small", "training.json")
    try:
        again.save(model)
        notes.write_text(json.dumps(NOTES | {"refit": True}))
        judge(settings)
        after = read_predictions(settings)
    finally:
        model.write_bytes(kept)
        notes.write_text(json.dumps(NOTES))
        first.unlink()
    validation = before["split"] == "validation"
    np.testing.assert_allclose(after["p"][validation], before["p"][validation], atol=1e-6)
    assert (after["p"][~validation] > before["p"][~validation]).all()


@pytest.mark.parametrize("notes", [{"refit": True, "combine": "mean"}, {"combine": "stacker"}])
def test_an_ensemble_that_has_seen_the_validation_split_is_not_judged_on_it(
    settings, no_figures, notes
):
    path = settings.paths.model("small", "training.json")
    path.write_text(json.dumps(NOTES | notes))
    try:
        metrics = judge(settings)
    finally:
        path.write_text(json.dumps(NOTES))
    assert set(read_predictions(settings)["split"]) == {"test"}
    known = {key for key in metrics if key.startswith("validation_") and metrics[key] is not None}
    assert known == {"validation_auc"}
    assert metrics["validation_auc"] == NOTES["val_auc"]
    assert metrics["temperature"] is metrics["test_ece_temperature"] is None
    assert metrics["test_auc"] > 0.6
    assert read_calibration(settings.paths.model("small", "calibration.json")) is None


@pytest.mark.parametrize("fractions", ["none", [0.6, 0.4]])
def test_without_a_test_split(tmp_path, monkeypatch, fractions):
    monkeypatch.chdir(tmp_path)
    sample = {"negatives_per_lens": 1, "fractions": fractions}
    settings = make_run(
        4, 12, 4, 3, size=21, sample=sample, training={"name": "small"},
        candidates={"threshold": 1}, inference={"backend": "tensorflow"},
    )  # fmt: skip
    build_sample(settings)
    write_model(settings, epochs=0)
    metrics = judge(settings)
    assert {value for key, value in metrics.items() if key.startswith("test_")} == {None}
    assert (metrics["validation_auc"] is None) == (fractions == "none")
    assert (metrics["temperature"] is None) == (fractions == "none")
    assert all(settings.paths.model("small", f"{name}.png").exists() for name in FIGURES)
    assert len(read_predictions(settings)) == (metrics["validation_n_lenses"] or 0) + (
        metrics["validation_n_nonlenses"] or 0
    )


def test_what_is_missing_or_odd_is_named(settings, no_figures):
    notes = settings.paths.model("small", "training.json")
    with pytest.raises(LenspipeError, match=r"other/training\.json: no such file, expected"):
        assess(settings.of_model("other"))
    notes.write_text(json.dumps({"name": "small"}))
    with pytest.raises(LenspipeError, match=r"training\.json: lacks network, expected"):
        judge(settings)
    notes.write_text("{")
    with pytest.raises(LenspipeError, match=r"training\.json: can't be read "):
        assess(settings)
    notes.write_text(json.dumps(NOTES))


def test_a_table_of_another_sample_is_refused(settings, no_figures):
    whole = settings.paths.sample.read_bytes()
    sample = pd.read_parquet(settings.paths.sample)
    flipped = sample.assign(label=np.where(sample["split"] == "test", 1, sample["label"]))
    for odd in (flipped, sample[sample["split"] != "test"]):
        odd.to_parquet(settings.paths.sample)
        try:
            with pytest.raises(LenspipeError, match=r"sample\.parquet: found \d+ galaxies .first"):
                judge(settings)
        finally:
            settings.paths.sample.write_bytes(whole)
    assert not settings.paths.model("small", "predictions.parquet").exists()


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, (0.5, "candidates.threshold")),
        ({"candidates": {"threshold": {"by": "number", "value": 9}}}, (0.5, "default")),
        ({"evaluation": {"threshold": 0.7}}, (0.7, "evaluation.threshold")),
    ],
)
def test_it_is_stated_where_the_threshold_comes_from(settings, no_figures, sections, expected):
    settings = configure(**sections)
    metrics = judge(settings)
    assert (metrics["threshold"], metrics["threshold_from"]) == expected
    lenses = read_predictions(settings).query("split == 'test' and label == 1")
    assert metrics["test_completeness_threshold"] == (lenses["p"] >= expected[0]).mean()


def table(p, label):
    """Predictions of made-up galaxies."""
    n = len(p)
    known = {"class": "random", "grade": "", "type": "DEV", "region": "south", "brick": "0001p000"}
    return pd.DataFrame(
        {"p": np.float32(p), "label": np.float32(label), "mag_z": 18.2, "nobs_z": 5,
         "theta_e_arcsec": np.nan, "arc_snr": np.nan} | known, index=range(n)
    )  # fmt: skip


def measure(galaxies, calibration, settings):
    threshold, band = settings.assessment_threshold[0], settings.survey.bands[-1]
    return measure_split(galaxies, calibration, settings.evaluation, threshold, band)


def test_without_a_false_positive_purity_has_only_bounds():
    settings = configure(evaluation={"prior": 0.001})
    galaxies = table([0.9, 0.8, 0.2, *[0.1] * 50], [1, 1, 1, *[0] * 50])
    metrics = measure(galaxies, None, settings)
    assert metrics["completeness_threshold"] == pytest.approx(2 / 3)
    assert metrics["fpr_threshold"] == 0
    assert metrics["purity_threshold"] is metrics["inspect_per_lens_threshold"] is None
    found, rate = binomial_interval(2, 3)[0], binomial_interval(0, 50)[1]
    # The lowest ratio of two independent fractions (MOVER-R), of which the second counts none.
    ratio = np.sqrt(found * (2 * 2 / 3 - found)) / rate
    # Of 1000 galaxies one is a lens.
    inspected = (ratio + 999) / ratio
    assert metrics["inspect_per_lens_threshold_high"] == pytest.approx(inspected)
    assert metrics["purity_threshold_low"] == pytest.approx(1 / inspected)
    assert metrics["purity_threshold_high"] == metrics["inspect_per_lens_threshold_low"] == 1


def test_purity_at_a_rate_is_that_of_the_prior():
    galaxies = table([*[0.9] * 8, 0.05, 0.05, *np.linspace(0, 0.5, 100)], [*[1] * 10, *[0] * 100])
    metrics = measure(galaxies, None, configure(evaluation={"prior": 1e-3}))
    assert metrics["completeness_fpr_1e-2"] == 0.8
    assert metrics["purity_fpr_1e-2"] == pytest.approx(0.8 / (0.8 + 999 * 0.01))
    assert metrics["inspect_per_lens_fpr_1e-2"] == pytest.approx(1 + 999 * 0.01 / 0.8)
    low, high = (metrics[f"inspect_per_lens_fpr_1e-2_{end}"] for end in ("low", "high"))
    assert low < metrics["inspect_per_lens_fpr_1e-2"] < high
    assert metrics["binned_at"] == "fpr_1e-2"
    assert metrics["by"]["mag"][3]["completeness"] == 0.8


def test_where_nothing_passes_nothing_is_pure():
    metrics = measure(table([0.1, 0.2, 0.3], [1, 0, 0]), None, configure())
    assert metrics["completeness_threshold"] == metrics["fpr_threshold"] == 0
    assert metrics["purity_threshold"] is metrics["inspect_per_lens_threshold_high"] is None
    assert metrics["binned_at"] == "threshold"


def test_calibrated_errors_are_of_both_ways():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400)
    p = np.where(rng.uniform(size=400) < 0.8, label, 1 - label) * 0.98 + 0.01
    calibration = fit_calibration(label, p, "temperature")
    metrics = measure(table(p, label), calibration, configure())
    assert metrics["ece"] == pytest.approx(0.19, abs=0.05)
    assert metrics["ece_temperature"] < 0.05
    assert metrics["ece_isotonic"] < 1e-9


def test_a_bin_counts_its_own_galaxies():
    scores = [0.9, 0.9, 0.1, *[0.8] * 2, *[0.1] * 4]
    galaxies = table(scores, [1, 1, 1, *[0] * 6])
    galaxies["mag_z"] = [17.2, 18.2, 18.2, 18.2, *[18.7] * 5]
    galaxies["type"] = ["DEV", "SER", "SER", "SER", *["DEV"] * 5]
    by = measure(galaxies, None, configure(candidates={"threshold": 0.5}))["by"]

    def counts(bins):
        return [(b["n_lenses"], b["completeness"], b["n_nonlenses"], b["false_positive_rate"])
                for b in bins if b["n_lenses"] + b["n_nonlenses"]]  # fmt: skip

    # One false positive in a bin of one, one in a bin of five.
    assert counts(by["type"]) == [(1, 1, 5, 0.2), (2, 0.5, 1, 1)]
    assert counts(by["mag"]) == [(1, 1, 0, None), (2, 0.5, 1, 1), (0, None, 5, 0.2)]


def test_the_interval_of_the_auc_follows_the_scatter_between_bricks():
    rng = np.random.default_rng(2)
    label = np.tile([1, 0, 0, 0], 60)
    galaxies = table(np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1), label)
    galaxies["brick"] = np.repeat(np.arange(20), 12).astype(str)
    lens, p = label > 0, galaxies["p"].to_numpy()
    bricks = galaxies["brick"].to_numpy()
    metrics = measure(galaxies, None, configure())
    expected = auc_interval(p[lens], p[~lens], (bricks[lens], bricks[~lens]))
    assert tuple(metrics[f"auc{end}"] for end in ("", "_low", "_high")) == expected
    assert expected != auc_interval(p[lens], p[~lens])
