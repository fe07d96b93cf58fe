import json

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
from lenspipe.sample import build_sample

NETWORK = {"widths": [8, 16, 16], "units": 1, "stem_filters": 8, "stem_stride": 2, "compress": True}
TRAINING = {
    "name": "small",
    "network_settings": NETWORK,
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [3],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run with a sample: 120 lenses and 240 others of 33 pixels, 60 % to train on."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_sample(make_run(8, 45, 15, 15, size=33, sample={"negatives_per_lens": 2}))
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


def test_it_learns_and_leaves_what_it_promises(settings, caplog):
    caplog.set_level("INFO", "lenspipe")
    settings = configure(name="learner", epochs=10, decay_epochs=[8])
    metrics = training.train(settings)
    assert metrics["val_auc"] > 0.9
    folder = settings.paths.model("learner").parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.keras", "history.csv", "history.png", "metrics.json", "config.yaml"}
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["counts"]["train"] == {"lens": 75, "other": 150}
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == list(range(1, 11))
    assert history["learning_rate"].iloc[[7, 8]].tolist() == pytest.approx([0.003, 0.0003])
    settled = history[history["epoch"] > 8]
    assert metrics["kept_epoch"] == settled.loc[settled["val_auc"].idxmax(), "epoch"]
    assert load_settings(yaml.safe_load((folder / "config.yaml").read_text())) == settings
    assert load_model(folder / "model.keras").get_layer("normalise").bands == ["g", "r", "z"]
    assert sum("validation loss" in line for line in caplog.messages) == 10


def test_a_killed_training_goes_on_and_ends_the_same(settings, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    training.train(settings)
    whole = score_images(load_model(settings.paths.model("small")), some_images())
    whole_history = pd.read_csv(settings.paths.model("small", "history.csv"))
    save = training._Backup.save

    def save_and_die(self, model, history, *args, **kwargs):
        save(self, model, history, *args, **kwargs)
        if len(history) == 2:
            raise KeyboardInterrupt

    settings.paths.model("small").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(training._Backup, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            training.train(settings)
    assert not settings.paths.model("small").exists()
    training.train(settings)
    assert "going on after epoch 2" in caplog.text
    history = pd.read_csv(settings.paths.model("small", "history.csv"))
    columns = ["epoch", "loss", "val_loss", "val_auc"]
    np.testing.assert_allclose(history[columns], whole_history[columns], atol=1e-4)
    resumed = score_images(load_model(settings.paths.model("small")), some_images())
    np.testing.assert_allclose(resumed, whole, atol=1e-4)
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


def test_mixed_precision_model_is_saved_in_single_precision(settings, monkeypatch):
    make = training._make
    seen = []

    def make_mixed_first(settings, mixed=False):
        model = make(settings, mixed=not seen)
        seen.append(model.dtype_policy.name)
        return model

    monkeypatch.setattr(training, "_make", make_mixed_first)
    training.train(configure(name="mixed", epochs=1))
    assert seen == ["mixed_float16", "float32"]
    model = load_model(settings.paths.model("mixed"))
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


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
