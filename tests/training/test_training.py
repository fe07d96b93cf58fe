import io
import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.fake_run import make_run

from lenspipe import __version__
from lenspipe.config.settings import load_settings
from lenspipe.models.activations import features
from lenspipe.models.classes import class_probabilities, with_classes
from lenspipe.models.layers import head, stem
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.record_files import check_shards
from lenspipe.sample.build import build_sample
from lenspipe.scoring.score import load_model, score_images
from lenspipe.training.backup import Backup
from lenspipe.training.data import (
    TrainingData,
    ValidationData,
    choose_classes,
    count_classes,
    training_seed,
)
from lenspipe.training.devices import choose_devices
from lenspipe.training.fitting import Fit, _make, train
from lenspipe.training.results import write_model
from lenspipe.training.steps import ProgressLogger, Steps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras, tf

NETWORK = {"widths": [8, 16], "units": 1, "stem_filters": 8, "stem_stride": 2, "compress": True}
#: For trainings that need not learn anything: half of them is making the network.
ONE_STAGE = NETWORK | {"widths": [8]}
TRAINING = {
    "name": "small",
    "network_settings": NETWORK,
    "epochs": 8,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [6],
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


def training_data(settings, devices=None):
    """The training split as a training uses it."""
    own, counts = settings.training, count_classes(settings.paths.sample, (0.6, 0.15, 0.25))
    seed = training_seed(own, settings.seed)
    shards = check_shards(settings.paths.records_manifest, "train")
    devices = devices or choose_devices("one")
    return TrainingData(shards, {"train": counts["train"]}, (3, 33), own, seed, devices)


def steps_of(model, data, settings, **options):
    folder = settings.paths.model(settings.training.name).parent
    return Steps(model, data, settings.training, folder, **options)


def make_network(settings, mixed=False):
    return _make(settings.training, settings.survey.bands, 33, mixed=mixed)


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
        metrics = train(configure())
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
    promised = {"model.keras", "history.csv", "history.png", "training.json", "config.yaml"}
    assert set(trained.files) == promised
    assert json.loads(trained.files["training.json"]) == trained.metrics
    assert trained.metrics["lenspipe"].startswith(__version__)
    sums = trained.metrics["sample_frames_crc32"]
    manifest = json.loads(settings.paths.records_manifest.read_text())["shards"]
    assert sums == {name: entry["frames_crc32"] for name, entry in manifest.items()}
    assert load_settings(yaml.safe_load(trained.files["config.yaml"])) == settings
    history = read_history(trained.files["history.csv"])
    assert history["epoch"].tolist() == list(range(1, TRAINING["epochs"] + 1))
    assert history["learning_rate"].iloc[[5, 6]].tolist() == pytest.approx([0.003, 0.0003])


def test_classes_of_nonlenses_are_learned_and_the_output_is_the_probability_of_a_lens(
    settings, caplog
):
    caplog.set_level("INFO", "lenspipe")
    settings = configure(
        name="classes", classes=["quasar", "spiral"], network_settings=ONE_STAGE, epochs=1,
        decay_epochs=[],
    )  # fmt: skip
    metrics = train(settings)
    assert metrics["classes"] == ["spiral"]
    assert "class quasar has 0 galaxies to train on, fewer than 20" in caplog.text
    assert 0 < metrics["val_auc"] <= 1
    model = load_model(settings.paths.model("classes"))
    images = read_cutouts(settings.paths.cutouts("1500p300"))[0][:6]
    p = score_images(model, images)
    three = class_probabilities(model)(images).numpy()
    assert three.shape == (6, 3)
    np.testing.assert_allclose(three.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(p, three[:, 1], rtol=1e-5)
    # The choice of galaxies by their diversity sees the network's features, not the classes.
    assert features(model, images).shape == (6, 8)


def test_labels_of_classes_are_those_of_the_table(settings):
    own, counts = settings.training, count_classes(settings.paths.sample, (0.6, 0.15, 0.25))
    shards = check_shards(settings.paths.records_manifest, "train")
    data = TrainingData(
        shards, {"train": counts["train"]}, (3, 33), own, 1, choose_devices("one"), ("spiral",)
    )
    labels = np.concatenate([batch[2].numpy()[:, 0] for batch in data.epoch(0)])
    weights = np.concatenate([batch[3].numpy()[:, 0] for batch in data.epoch(0)])
    ids = [id_ for step in range(data.steps) for id_ in data.ids(0, step)]
    sample = pd.read_parquet(settings.paths.sample).set_index("id").loc[ids, "class"]
    expected = sample.map({"lens": 1, "confusing:spiral": 2}).fillna(0)
    assert set(expected) == {0, 1, 2}
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(weights, np.where(sample == "lens", data.lens_weight, 1))


def test_classes_that_nothing_has_and_networks_without_a_last_unit_are_refused(settings):
    with pytest.raises(
        LenspipeError, match=r"training\.classes: found 'sprial', expected some of "
    ):
        choose_classes(settings.paths.sample, ["spiral", "sprial"])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(inputs))
    with pytest.raises(LenspipeError, match=r"training\.classes: the network ends with Act"):
        with_classes(model, ["spiral"])


def test_it_keeps_the_best_of_the_settled_epochs(trained):
    history = read_history(trained.files["history.csv"])
    settled = history[history["epoch"] > TRAINING["decay_epochs"][0]]
    best = settled.sort_values(["val_auc", "val_loss"], ascending=[False, True]).iloc[0]
    assert trained.metrics["kept_epoch"] == best["epoch"]
    assert trained.metrics["val_auc"] == pytest.approx(best["val_auc"])


def test_a_killed_training_is_resumed_and_ends_the_same(trained, settings, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    save = Backup.save

    def save_and_die(self, model, history, *args, **kwargs):
        save(self, model, history, *args, **kwargs)
        if len(history) == 3:
            raise KeyboardInterrupt

    settings.paths.model("small").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Backup, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert not settings.paths.model("small").exists()
    train(settings)
    assert "resuming after epoch 3" in caplog.text
    history = pd.read_csv(settings.paths.model("small", "history.csv"))
    whole = read_history(trained.files["history.csv"])
    columns = ["epoch", "learning_rate", "loss", "val_loss", "val_auc"]
    np.testing.assert_allclose(history[columns], whole[columns], atol=1e-4)
    scores = score_images(load_model(settings.paths.model("small")), some_images())
    np.testing.assert_allclose(scores, trained.scores, atol=1e-5)
    assert not settings.paths.model("small", "backup").exists()


def test_a_state_of_other_settings_is_not_used(settings, caplog):
    caplog.set_level("INFO", "lenspipe")
    settings = configure(name="other", network_settings=ONE_STAGE, epochs=1)
    model = make_network(settings)
    model.compile("adam")
    backup = Backup(settings.paths.model("other", "backup"), "a")
    backup.save(model, [{"val_auc": 1}], 1.0, is_best=True)
    assert Backup(backup.folder, "b").restore(model) == ([], 0.0)
    assert train(settings)["epochs"] == 1
    assert "resuming" not in caplog.text
    assert not backup.folder.exists()


def test_loss_that_is_not_finite_is_named_with_its_batch(settings):
    settings = configure(name="wild", network_settings=ONE_STAGE, learning_rate=1e30, epochs=2)
    with pytest.raises(
        LenspipeError, match=r"not finite \(nan\) in epoch 1, step 2; lower training\.learning_rate"
    ) as error:
        train(settings)
    ids = training_data(settings).ids(0, 1)
    path = settings.paths.model("wild", "not-finite.txt")
    assert path.read_text().splitlines() == ids
    assert len(ids) == 16
    assert f"{', '.join(ids[:5])}, ... ({path} has all 16)" in str(error.value)


def test_ids_of_a_batch_are_those_of_its_images(settings):
    data = training_data(settings)
    labels = [batch[2].numpy()[:, 0] for batch in data.epoch(3)]
    sample = pd.read_parquet(settings.paths.sample).set_index("id")["label"]
    assert len(labels) == data.steps == 225 // 16
    for step in (0, 5, 13):
        np.testing.assert_array_equal(sample[data.ids(3, step)], labels[step])


@pytest.mark.parametrize("size", [16, 1])
def test_out_of_memory_names_the_batch_size_and_a_smaller_one(settings, monkeypatch, size):
    def step(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(
        Steps, "__init__", lambda self, model, data, training, folder: vars(self).update(
            model=model, data=data, training=training, folder=folder, step=step
        )
    )  # fmt: skip
    settings = configure(name="large", network_settings=ONE_STAGE, batch_size=size)
    advice = "set it to 8 and" if size == 16 else ".*can't be divid"
    with pytest.raises(
        LenspipeError, match=rf"batch_size: CPU ran out .* with batches of {size}; {advice}"
    ):
        train(settings)


def test_an_error_that_is_not_of_memory_stays_what_it_is(settings, monkeypatch):
    settings = configure(network_settings=ONE_STAGE)
    data = training_data(settings)
    model = make_network(settings)
    model.compile("adam")
    steps = steps_of(model, data, settings)

    def step(*_):
        raise tf.errors.InternalError(None, None, "no such luck")

    monkeypatch.setattr(steps, "step", step)
    with pytest.raises(tf.errors.InternalError, match="luck"):
        steps.run(0, ProgressLogger("x"))


def test_a_batch_that_devices_can_not_share_is_refused(settings):
    devices = choose_devices("one")
    three = SimpleNamespace(n_replicas=3, strategy=devices.strategy, name="3 x GPU")
    with pytest.raises(LenspipeError, match="batch of 16 can't be divided between 3 devices; set"):
        training_data(settings, three)


def test_clipping_is_refused_where_each_device_would_clip_its_part(settings):
    settings = configure(optimizer_settings={"clipnorm": 1.0})
    two = SimpleNamespace(n_replicas=2, strategy=None, name="2 x GPU")
    with pytest.raises(LenspipeError, match=r"optimizer_settings\.clipnorm: Keras would clip the"):
        training_data(settings, two)


def test_a_network_with_penalties_learns_in_half_precision(settings):
    data = training_data(settings)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs, x = stem("grz", 33, 4, stride=4)
        x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.1))(x)
        x = keras.layers.ActivityRegularization(l2=1e-3)(x)
        model = head(inputs, x, "penalised")
    finally:
        keras.config.set_dtype_policy("float32")
    model.get_layer("normalise").adapt(data.some_images())
    model.compile(keras.optimizers.Adam(3e-3))
    assert np.isfinite(steps_of(model, data, settings).run(0, ProgressLogger("x")))


def test_gradients_that_are_never_finite_end_the_training(settings):
    settings = configure(network_settings=ONE_STAGE)
    data = training_data(settings)
    model = make_network(settings, mixed=True)
    model.compile(keras.optimizers.Adam(3e-3))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.dynamic_scale.assign(1e-5)
    with pytest.raises(LenspipeError, match="the gradients are not finite in epoch 1, step 14;"):
        steps_of(model, data, settings).run(0, ProgressLogger("x"))


def test_members_of_an_ensemble_may_differ_by_seed(settings):
    ids = [training_data(configure(seed=seed)).ids(0, 0) for seed in (None, 1, 2)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_parts_of_a_batch_make_the_whole(settings):
    data = training_data(settings)
    whole = next(iter(data._batches(2, 0, 1, 1)))
    parts = [next(iter(data._batches(2, i, 2, 1))) for i in range(2)]
    quarters = [batch for i in range(2) for batch in list(data._batches(2, i, 2, 2))[:2]]
    for pieces in (parts, quarters):
        for value, *of_pieces in zip(whole, *pieces, strict=True):
            np.testing.assert_array_equal(value, np.concatenate(of_pieces))


def test_it_learns_in_half_precision_and_with_xla(settings):
    settings = configure(name="half", network_settings=NETWORK | {"widths": [4]})
    data = training_data(settings)
    keras.utils.set_random_seed(1)
    model = make_network(settings, mixed=True)
    model.get_layer("normalise").adapt(data.some_images())
    model.compile(keras.optimizers.Adam(3e-3))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    steps = steps_of(model, data, settings, compiled=True)
    losses = [steps.run(epoch, ProgressLogger("x")) for epoch in range(3)]
    assert losses[2] < losses[0] < 2
    validation = ValidationData(
        check_shards(settings.paths.records_manifest, "validation"), 256, (3, 33)
    )
    loss, area, lenses, others = validation.measure(model, print)
    assert (len(lenses), len(others)) == (15, 30)
    assert np.isfinite(loss)
    assert 0 <= area <= 1


def test_training_stops_when_there_has_long_been_no_better_epoch(settings):
    settings = configure(
        name="patient",
        network_settings=ONE_STAGE,
        learning_rate=1e-9,
        decay_epochs=[],
        patience=2,
        keep="best",
        epochs=9,
    )
    notes = train(settings)
    history = pd.read_csv(settings.paths.model("patient", "history.csv"))
    assert len(history) == notes["epochs"] == notes["kept_epoch"] + 2 < 9


def test_refit_learns_from_the_validation_split_too_and_keeps_the_first_model(settings, caplog):
    caplog.set_level("INFO", "lenspipe")
    settings = configure(
        name="twice", network_settings=ONE_STAGE, refit=True, epochs=2, decay_epochs=[]
    )
    assert settings.held_out == "test"
    notes = train(settings)
    assert "again, on the training and validation splits" in caplog.text
    assert notes["refit"]
    assert notes["val_auc"] is not None
    folder = settings.paths.model("twice").parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.keras", "validated.keras", "history.csv", "history.png",
                     "training.json", "config.yaml"}  # fmt: skip
    scores = [score_images(load_model(folder / f), some_images()) for f in names if "keras" in f]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4


def test_each_epoch_is_reported_with_its_validation_scores(settings):
    reports = []
    settings = configure(name="told", network_settings=ONE_STAGE, epochs=2, decay_epochs=[])
    train(settings, lambda *report: reports.append(report))
    assert [row["epoch"] for row, _, _ in reports] == [1, 2]
    row, lenses, others = reports[-1]
    assert (len(lenses), len(others)) == (15, 30)
    assert row["val_auc"] == pytest.approx(np.mean(lenses[:, None] > others), abs=0.02)


def test_split_without_lenses_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = configure()
    settings.paths.sample.parent.mkdir(parents=True)
    pd.DataFrame({"split": ["train"] * 3, "label": [0.0] * 3}).to_parquet(settings.paths.sample)
    with pytest.raises(LenspipeError, match=r"sample\.parquet: found 0 lenses and 3 non-lenses in"):
        train(settings)


def test_mixed_precision_model_is_saved_in_single_precision(settings):
    settings = configure(name="mixed")
    model = make_network(settings, mixed=True)
    assert model.dtype_policy.name == "mixed_float16"
    fit = Fit.__new__(Fit)
    fit.model, fit.training, fit.bands = model, settings.training, settings.survey.bands
    fit.data = SimpleNamespace(shape=(3, 33), classes=())
    fit.backup = Backup(settings.paths.model("mixed", "backup"), "a")
    model.compile("adam")
    fit.backup.save(model, [{}], 1.0, is_best=True)
    write_model(settings.paths.model("mixed"), fit.kept_model())
    fit.backup.remove()
    saved = load_model(settings.paths.model("mixed"))
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    for one, other in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_a_validation_split_the_last_epoch_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = {"negatives_per_lens": 1, "fractions": "none"}
    settings = make_run(
        4,
        20,
        5,
        5,
        size=33,
        sample=sample,
        training=TRAINING | {"epochs": 2, "network_settings": ONE_STAGE},
    )
    build_sample(settings)
    metrics = train(settings)
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
        train(settings)
