import io
import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_run import make_run

from lenspipe import training
from lenspipe._tensorflow import keras, tf
from lenspipe.config import load_settings
from lenspipe.errors import LenspipeError
from lenspipe.inference import load_model, score_images
from lenspipe.progress import log
from lenspipe.sample import build_sample

NETWORK = {"widths": [8, 16], "units": 1, "stem_filters": 8, "stem_stride": 2, "compress": True}
TRAINING = {
    "name": "small",
    "network_settings": NETWORK,
    "epochs": 12,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [9],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run with a sample: 120 lenses and up to 240 others of 33 pixels."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_sample(make_run(8, 70, 15, 15, size=33, sample={"negatives_per_lens": 2}))
    return folder


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run)
    return configure()


def configure(**changes):
    return load_settings(
        {"run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]},
         "cutouts": {"size": 33}, "sample": {"negatives_per_lens": 2},
         "training": TRAINING | changes}
    )  # fmt: skip


def some_images():
    return np.random.default_rng(1).normal(0, 0.01, (20, 3, 33, 33)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(run):
    """A whole training: its metrics, lines of log, files and scores of some images."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log.addHandler(handler)
    log.setLevel("INFO")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        metrics = training.train(configure())
        folder = configure().paths.model("small").parent
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        scores = score_images(load_model(folder / "model.keras"), some_images())
    log.removeHandler(handler)
    return SimpleNamespace(metrics=metrics, lines=lines, files=files, scores=scores)


def read_history(content):
    return pd.read_csv(io.BytesIO(content))


def test_it_learns(trained):
    assert trained.metrics["val_auc"] > 0.8
    assert trained.metrics["counts"]["train"] == {"lens": 75, "other": 150}
    assert sum("validation loss" in line for line in trained.lines) == TRAINING["epochs"]


def test_it_leaves_what_it_promises(trained, settings):
    promised = {"model.keras", "history.csv", "history.png", "metrics.json", "config.yaml"}
    assert set(trained.files) == promised
    assert json.loads(trained.files["metrics.json"]) == trained.metrics
    assert load_settings(yaml.safe_load(trained.files["config.yaml"])) == settings
    history = read_history(trained.files["history.csv"])
    assert history["epoch"].tolist() == list(range(1, TRAINING["epochs"] + 1))
    assert history["learning_rate"].iloc[[8, 9]].tolist() == pytest.approx([0.003, 0.0003])


def test_it_keeps_the_best_of_the_settled_epochs(trained):
    history = read_history(trained.files["history.csv"])
    settled = history[history["epoch"] > TRAINING["decay_epochs"][0]]
    best = settled.sort_values(["val_auc", "val_loss"], ascending=[False, True]).iloc[0]
    assert trained.metrics["kept_epoch"] == best["epoch"]
    assert trained.metrics["val_auc"] == pytest.approx(best["val_auc"])


def test_a_killed_training_goes_on_and_ends_the_same(trained, settings, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    save = training._Backup.save

    def save_and_die(self, model, history, *args, **kwargs):
        save(self, model, history, *args, **kwargs)
        if len(history) == 3:
            raise KeyboardInterrupt

    settings.paths.model("small").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(training._Backup, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            training.train(settings)
    assert not settings.paths.model("small").exists()
    training.train(settings)
    assert "going on after epoch 3" in caplog.text
    history = pd.read_csv(settings.paths.model("small", "history.csv"))
    whole = read_history(trained.files["history.csv"])
    columns = ["epoch", "learning_rate", "loss", "val_loss", "val_auc"]
    np.testing.assert_allclose(history[columns], whole[columns], atol=1e-4)
    scores = score_images(load_model(settings.paths.model("small")), some_images())
    np.testing.assert_allclose(scores, trained.scores, atol=1e-5)
    assert not settings.paths.model("small", "backup").exists()


def test_a_state_of_other_settings_is_not_used(settings, caplog):
    caplog.set_level("INFO", "lenspipe")
    model = training._make(settings)
    model.compile("adam")
    folder = settings.paths.model("other", "backup")
    training._Backup(folder, "a").save(model, [{"val_auc": 1}], 1.0, is_best=True)
    assert training._Backup(folder, "b").restore(model) == ([], 0.0)
    assert not folder.exists()


def test_loss_that_is_not_finite_is_named_with_its_epoch(settings):
    settings = configure(name="wild", learning_rate=1e30, epochs=2)
    with pytest.raises(LenspipeError, match=r"not finite in epoch 1 .*training\.learning_rate"):
        training.train(settings)


def test_split_without_lenses_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = configure()
    settings.paths.sample.parent.mkdir(parents=True)
    pd.DataFrame({"split": ["train"] * 3, "label": [0.0] * 3}).to_parquet(settings.paths.sample)
    with pytest.raises(LenspipeError, match=r"sample\.parquet: found 0 lenses and 3 others in the"):
        training.train(settings)


def test_mixed_precision_model_is_saved_in_single_precision(settings):
    settings = configure(name="mixed")
    model = training._make(settings, mixed=True)
    assert model.dtype_policy.name == "mixed_float16"
    row = {"epoch": 1, "loss": 0.5, "val_loss": 0.5, "val_auc": 0.5}
    training._write_results(settings, model, pd.DataFrame([row]), {"kept_epoch": 1})
    saved = load_model(settings.paths.model("mixed"))
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    for one, other in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_augmentation_gives_the_eight_symmetries_alike():
    image = np.arange(2 * 5 * 5, dtype=np.float32).reshape(2, 5, 5)
    turned = [np.rot90(image, k, (1, 2)) for k in range(4)]
    symmetries = [a.tobytes() for a in turned + [a[:, ::-1] for a in turned]]
    images = training.augment(tf.constant(np.tile(image, (800, 1, 1, 1))), (3, 4)).numpy()
    counts = [sum(a.tobytes() == s for a in images) for s in symmetries]
    assert sum(counts) == 800
    assert min(counts) > 60
    again = training.augment(tf.constant(np.tile(image, (800, 1, 1, 1))), (3, 4)).numpy()
    np.testing.assert_array_equal(images, again)


def test_without_a_validation_split_the_last_epoch_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = {"negatives_per_lens": 1, "fractions": "none"}
    settings = make_run(4, 20, 5, 5, size=33, sample=sample, training=TRAINING | {"epochs": 2})
    build_sample(settings)
    metrics = training.train(settings)
    assert metrics["kept_epoch"] == 2
    assert metrics["val_auc"] is metrics["val_loss"] is None
    assert metrics["counts"]["validation"] == {"lens": 0, "other": 0}
    assert metrics["counts"]["train"]["lens"] == 20


def test_a_shard_of_another_sample_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_run(4, 20, 5, 5, size=33, sample={"negatives_per_lens": 1})
    build_sample(settings)
    shard = settings.paths.sample.with_name("train-00000.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(LenspipeError, match=r"train-00000\.tfrecord: found bytes .*, expected"):
        training.train(settings)
