"""Tests of lenspipe.scoring.backends.choose: all give what Keras gives."""

import functools
import importlib.util
import logging
import sys

import numpy as np
import pytest
import scipy.stats

from lenspipe.config.learning import Inference
from lenspipe.config.settings import load_settings
from lenspipe.models.contents import layers_of, normalisation, with_member_outputs
from lenspipe.models.registry import build
from lenspipe.scoring.backends import choose as backends
from lenspipe.scoring.backends.folding import fold
from lenspipe.scoring.score import score_images
from lenspipe.training.ensemble import join
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import gpus, keras

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
OPENVINO = pytest.param("openvino", marks=needs_openvino)
SIZE = 33
NETWORKS = {
    "cmu_deeplens": {"widths": [4, 8], "units": 2, "stem_filters": 4},
    "shielded_resnet": {"units": 1, "stages": 2},
    "efficientnet_v2": {"variant": "B0"},
}


def some_images(number=40, size=SIZE):
    """Noise, and a galaxy in each of another brightness; not all finite."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size] - size // 2
    galaxy = np.exp(-np.hypot(x, 2 * y) / 3) * np.logspace(-2, 0, number)[:, None, None, None]
    images = rng.normal(0, 0.01, (number, 3, size, size)) + galaxy
    images[0, 1, 3, 4] = np.nan
    return images.astype(np.float32)


@functools.cache
def made(name="cmu_deeplens", seed=1):
    """A network whose normalisations have seen something and whose scores spread.

    The same one for all tests, which leave it as it is.
    """
    keras.utils.set_random_seed(seed)
    model, rng = build(name, size=SIZE, **NETWORKS[name]), np.random.default_rng(seed)
    normalisation(model)[0].adapt(some_images())
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
    model(some_images(), training=True)
    layer = model.get_layer("p")
    before = keras.Model(model.input, layer.input)(some_images()).numpy()
    kernel, bias = layer.get_weights()
    kernel *= 0.5 / np.std(before @ kernel)
    layer.set_weights([kernel, bias - np.median(before @ kernel)])
    return model


@pytest.fixture(scope="module", params=[*NETWORKS, "median"])
def model(request):
    if request.param in NETWORKS:
        return made(request.param)
    return join({name: made(name) for name in ("cmu_deeplens", "shielded_resnet")}, request.param)


def plain(model, images):
    return model.predict(images, verbose=0)


@pytest.fixture(scope="module")
def expected(model):
    """What Keras gives for some images."""
    return plain(model, some_images())


def opened(model, **keys):
    return backends.open_backend(model, Inference(**keys))


def test_tensorflow_agrees_with_keras(model, expected):
    assert expected.std() > 0.005
    scores = opened(model, backend="tensorflow")(some_images())
    assert (scores.dtype, scores.shape) == (np.float32, (40, 1))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


@needs_openvino
def test_openvino_agrees_with_keras(model, expected):
    scores = opened(model, backend="openvino")(some_images())
    assert (scores.dtype, scores.shape) == (np.float32, (40, 1))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


@needs_openvino
def test_bfloat16_nearly_agrees_with_keras(model):
    module = importlib.import_module("lenspipe.scoring.backends.openvino")
    if "BF16" not in module.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    if model.name == "efficientnet_v2":
        pytest.skip("without training, its scores depend on the last digits")
    images = some_images(300)
    backend = opened(model, backend="auto", precision="bfloat16")
    assert (backend.name, backend.precision) == ("OpenVINO", "bfloat16") or gpus
    scores, expected = backend(images)[:, 0], plain(model, images)[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=0.01)
    assert scipy.stats.spearmanr(scores, expected).statistic > 0.999


@pytest.mark.parametrize("backend", ["tensorflow", OPENVINO])
def test_orientations_are_averaged(backend):
    model, images = made(), some_images(5)
    expected = score_images(model, images, batch_size=5, symmetries=8)
    assert np.abs(expected - score_images(model, images, batch_size=5)).max() > 1e-3
    scores = opened(model, backend=backend, symmetries=8)(images)
    np.testing.assert_allclose(scores[:, 0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("backend", ["tensorflow", OPENVINO, "auto"])
def test_any_number_of_cutouts_is_scored(backend):
    model, images = made(), some_images(70)
    score, expected = opened(model, backend=backend, batch_size=70), plain(model, images)
    for number in (0, 1, 31, 33, 70):
        scores = score(images[:number])
        assert scores.shape == (number, 1)
        np.testing.assert_allclose(scores, expected[:number], rtol=0, atol=1e-4)


def test_normalisations_are_folded_only_where_that_is_right():
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    a = layers.BatchNormalization(name="kept_1")(twice(inputs))
    b = layers.BatchNormalization(name="kept_2")(twice(inputs))
    shared = layers.Conv2D(4, 3, padding="same", name="used_twice")(layers.Add()([a, b]))
    c = layers.Add()([layers.BatchNormalization(name="kept_3")(shared), shared])
    active = layers.Conv2D(4, 3, activation="relu", padding="same", name="active")(c)
    d = layers.BatchNormalization(name="kept_4")(active)
    deep = layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(d)
    e = layers.BatchNormalization(name="dropped_1", scale=False)(deep)
    last = layers.Conv2D(2, 3, use_bias=False, name="last")(e)
    f = layers.BatchNormalization(name="dropped_2", center=False)(last)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(f))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.2, 1, weight.shape))
    folded = fold(model)
    normalised = {x.name for x in folded.layers if isinstance(x, layers.BatchNormalization)}
    assert normalised == {"kept_1", "kept_2", "kept_3", "kept_4"}
    images = rng.normal(size=(5, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(folded, images), plain(model, images), rtol=1e-4)
    assert len(model.weights) == 31


def test_a_folded_network_has_fewer_normalisations():
    model = made("efficientnet_v2")
    kept = [x for x in layers_of(fold(model)) if isinstance(x, keras.layers.BatchNormalization)]
    assert len(kept) == 0


@pytest.mark.parametrize("how", ["mean", "median"])
def test_members_of_an_ensemble_are_scored_in_the_same_pass(how):
    members = {"one": made(), "other": made("shielded_resnet"), "third": made(seed=3)}
    model, names = with_member_outputs(join(members, how))
    assert names == list(members)
    images = some_images()
    scores = opened(model, backend="tensorflow")(images)
    each = np.concatenate([plain(member, images) for member in members.values()], axis=1)
    np.testing.assert_allclose(scores[:, 1:], each, rtol=0, atol=1e-4)
    combined = each.mean(axis=1) if how == "mean" else np.median(each, axis=1)
    np.testing.assert_allclose(scores[:, 0], combined, rtol=0, atol=1e-4)


def test_a_network_has_no_members():
    model = made()
    assert with_member_outputs(model) == (model, [])


class Fake:
    """A backend that takes its time, or is wrong."""

    def __init__(self, name, clock, seconds, score=0.5):
        self.name, self.clock, self.seconds, self.score = name, clock, seconds, score
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        self.clock[0] += self.seconds
        return np.full((len(images), 1), self.score, np.float32)


@pytest.mark.parametrize(
    ("seconds", "score", "chosen", "said"),
    [
        (0.1, 0.5, "other", "scoring with other; tried, cutouts per second: default 32, other 320"),
        (
            2.0,
            0.5,
            "default",
            "scoring with default; tried, cutouts per second: default 32, other 16",
        ),
        (0.1, 0.6, "default", "scoring with default: scores of other differ by up to 0.1"),
        (0.1, np.nan, "default", "scoring with default: scores of other differ by up to nan"),
    ],
)
def test_auto_takes_the_faster_if_it_agrees(seconds, score, chosen, said, monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(backends.time, "perf_counter", lambda: clock[0])
    default, other = Fake("default", clock, 1.0), Fake("other", clock, seconds, score)
    auto = backends.AutoBackend(default, lambda: other)
    assert len(auto(some_images(5))) == 5
    assert (auto.name, default.calls, other.calls) == ("default", 1, 0)
    with caplog.at_level(logging.INFO, "lenspipe"):
        assert len(auto(some_images(100, 5))) == 100
    assert said in caplog.text
    assert auto.name == chosen
    before = default.calls, other.calls
    auto(some_images(100, 5))
    more = default.calls - before[0], other.calls - before[1]
    assert more == ((1, 0) if chosen == "default" else (0, 1))


def test_without_openvino_tensorflow_scores(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "lenspipe.scoring.backends.openvino", raising=False)
    model = made()
    with caplog.at_level(logging.INFO, "lenspipe"):
        assert len(opened(model)(some_images())) == 40
        assert opened(model, precision="bfloat16").name == "TensorFlow"
    assert "scoring with TensorFlow: openvino: not installed" in caplog.text or gpus
    assert "scoring with TensorFlow in float32: openvino: not installed" in caplog.text or gpus
    with pytest.raises(LenspipeError, match=r"pip install 'lenspipe\[openvino\]'"):
        opened(model, backend="openvino")


def test_bfloat16_without_openvino_is_refused():
    config = {"run": "x", "simulation": {}, "footprint": {"bricks": ["1501p320"]}}
    with pytest.raises(LenspipeError, match=r"inference.*bfloat16 is OpenVINO's; set backend"):
        load_settings(config | {"inference": {"precision": "bfloat16", "backend": "tensorflow"}})
