"""Tests of lenspipe.evaluation.activations."""

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run
from PIL import Image

from lenspipe.evaluation import activations
from lenspipe.evaluation.activations import show_activations
from lenspipe.models.activations import stages
from lenspipe.models.layers import Normalise
from lenspipe.models.registry import build
from lenspipe.sample.build import build_sample
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

SMALL = {"widths": [4, 8], "units": 1, "stem_filters": 4, "stem_stride": 2}


def some_images(size=33):
    return np.random.default_rng(0).normal(0, 0.01, (2, 3, size, size)).astype(np.float32)


def summary(found):
    return [(s["member"], *s["maps"].shape[1:], s["convolutions"]) for s in found]


def test_stages_are_the_last_maps_of_each_size():
    model = build("cmu_deeplens", size=33, **SMALL)
    images = some_images()
    found = stages(model, images)
    # Stem and a unit of three convolutions and a shortcut; a unit of as many.
    assert summary(found) == [
        ("", 33, 33, 3, 0),
        ("", 17, 17, 4, 4),
        ("", 9, 9, 8, 4),
    ]
    last = keras.Model(model.input, model.layers[-3].output)
    np.testing.assert_allclose(found[-1]["maps"], last(images), atol=1e-5)
    np.testing.assert_allclose(found[0]["maps"][..., 0], images[:, 0], rtol=1e-6)


def test_a_model_is_left_as_it_was():
    model = build("cmu_deeplens", size=33, **SMALL)
    before = model(some_images()).numpy()
    stages(model, some_images())
    assert not any("call" in vars(layer) for layer in model.layers)
    np.testing.assert_array_equal(model(some_images()), before)


def nested():
    """A network with a network and a sequence in it, and a squeeze to one pixel in between."""
    inputs = keras.Input((3, 32, 32))
    x = Normalise(["g", "r", "z"], name="normalise")(inputs)
    inner = keras.Input((32, 32, 3))
    y = keras.layers.ZeroPadding2D(1)(inner)
    y = keras.layers.Conv2D(6, 3, strides=2)(y)
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(y)
    squeezed = keras.layers.Conv2D(6, 1, activation="sigmoid")(squeezed)
    y = keras.layers.Multiply()([y, squeezed])
    body = keras.Model(inner, y)
    tail = keras.Sequential(
        [keras.layers.Conv2D(10, 3, strides=2, padding="same"), keras.layers.Activation("relu")]
    )
    x = tail(body(keras.layers.Permute((2, 3, 1))(x)))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))


def test_networks_within_networks_are_followed():
    found = stages(nested(), some_images(32))
    assert summary(found) == [
        ("", 32, 32, 3, 0),
        ("", 16, 16, 6, 2),
        ("", 8, 8, 10, 1),
    ]
    assert found[-1]["maps"].min() >= 0


def test_members_of_an_ensemble_come_one_after_the_other():
    members = [build("cmu_deeplens", size=33, **SMALL) for _ in range(2)]
    inputs = keras.Input((3, 33, 33))
    for name, member in zip("ab", members, strict=True):
        member.name = name
    outputs = keras.layers.Average()([member(inputs) for member in members])
    found = stages(keras.Model(inputs, outputs), some_images())
    assert [(s["member"], s["maps"].shape[1]) for s in found] == [
        (name, size) for name in "ab" for size in (33, 17, 9)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a model and made-up predictions; its settings."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(
            4, 20, 5, 4, size=33, sample={"negatives_per_lens": 1}, training={"name": "small"}
        )
        build_sample(settings)
        settings.paths.model("small").parent.mkdir(parents=True)
        build("cmu_deeplens", size=33, **SMALL).save(settings.paths.model("small"))
    return folder, settings


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run[0])
    return run[1]


def predict(settings, splits):
    """Write predictions: the last lens of the sample is most certain, and its first non-lens."""
    sample = pd.read_parquet(settings.paths.sample)
    p = np.where(sample["label"] == 1, 0.5, 0.4) + np.arange(len(sample)) / 1000
    table = sample[["id", "split", "label"]].assign(p=np.float32(p))
    table = table[table["split"].isin(splits)]
    table.to_parquet(settings.paths.model("small", "predictions.parquet"))
    return table


@pytest.mark.parametrize("splits", [["validation", "test"], ["validation"]])
def test_the_most_confident_right_ones_are_drawn(settings, monkeypatch, splits):
    table = predict(settings, splits)
    shown = []

    def look(path, rows, *shape):
        shown.append(rows)
        return read(path, rows, *shape)

    read = activations.read_images
    monkeypatch.setattr(activations, "read_images", look)
    show_activations(settings)
    table = table[table["split"] == splits[-1]]
    lenses, others = table[table["label"] == 1], table[table["label"] == 0]
    assert shown[0]["id"].tolist() == [lenses["id"].iloc[-1], others["id"].iloc[0]]
    path = settings.paths.model("small", "activations.png")
    with Image.open(path) as image:
        assert image.width > 1000
        assert image.height > 700
    first = path.read_bytes()
    show_activations(settings)
    assert path.read_bytes() == first


def test_without_a_split_the_page_says_so(settings):
    predict(settings, [])
    show_activations(settings)
    with Image.open(settings.paths.model("small", "activations.png")) as image:
        assert image.height < 500


def test_predictions_of_another_sample_are_refused(settings):
    table = predict(settings, ["test"])
    path = settings.paths.model("small", "predictions.parquet")
    table.assign(id="x" + table["id"]).to_parquet(path)
    with pytest.raises(LenspipeError, match=r"predictions\.parquet: found galaxies that .* lacks"):
        show_activations(settings)
    path.unlink()
    with pytest.raises(LenspipeError, match=r"predictions\.parquet: no such file, expected scores"):
        show_activations(settings)
