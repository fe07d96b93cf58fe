import urllib.error

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lenspipe.config.training import NETWORKS as config_networks
from lenspipe.models.contents import normalisation, synchronise
from lenspipe.models.layers import Normalise
from lenspipe.models.registry import NETWORKS, build
from lenspipe.scoring.score import load_model
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

SMALL = {"widths": [4, 8], "units": 1, "stem_filters": 4, "stem_stride": 2}
SOME = np.random.default_rng(0).normal(0, 0.01, (4, 3, 33, 33)).astype(np.float32)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def statistics(model):
    """Numbers in the batch normalisations' moving statistics."""
    layers = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    return sum(count(layer.non_trainable_weights) for layer in layers)


def test_cmu_deeplens_has_the_published_size():
    model = build("cmu_deeplens")
    assert model.input_shape == (None, 3, 101, 101)
    assert count(model.trainable_weights) == 3_511_681
    assert statistics(model) == 10_944
    # Besides, level and noise of each band.
    assert count(model.non_trainable_weights) == 10_944 + 6
    convolutions = [la for la in model.layers if isinstance(la, keras.layers.Conv2D)]
    assert len(convolutions) == 46 + 4  # the main path, and the shortcuts where the shape changes
    assert model.get_layer(index=-3).output.shape == (None, 7, 7, 512)


@pytest.mark.parametrize(
    ("settings", "parameters", "published", "tolerance"),
    [
        ({}, 60_193, 60_000, 0.03),
        ({"preset": "60k"}, 60_193, 60_000, 0.03),
        ({"preset": "194k"}, 192_953, 194_433, 0.01),
        ({"width": 52, "mid": 32, "shield": 12, "last": 24}, 192_953, 194_433, 0.01),
    ],
)
def test_shielded_resnet_has_about_the_published_sizes(settings, parameters, published, tolerance):
    found = count(build("shielded_resnet", **settings).trainable_weights)
    assert found == parameters
    assert found == pytest.approx(published, rel=tolerance)


def test_widths_that_are_given_win_over_the_preset():
    small = {"stages": 2, "units": 1, "size": 21}
    found, expected = (
        count(build("shielded_resnet", **small, **own).trainable_weights)
        for own in (
            {"preset": "194k", "width": 8, "last": 4},
            {"width": 8, "mid": 32, "shield": 12, "last": 4},
        )
    )
    assert found == expected
    with pytest.raises(LenspipeError, match="found preset '1M', expected one of 60k, 194k"):
        build("shielded_resnet", preset="1M")


@pytest.mark.parametrize(("variant", "parameters"), [("B0", 5_859_985), ("S", 20_178_769)])
def test_efficientnet_is_keras_own_with_one_unit(variant, parameters):
    model = build("efficientnet_v2", variant=variant)
    assert model.input_shape == (None, 3, 101, 101)
    assert count(model.trainable_weights) == parameters
    body = model.get_layer(f"efficientnetv2-{variant.lower()}")
    # The paper counts 20.5 million (arXiv:2508.20087), with statistics and a head of its own.
    assert body.count_params() == {"B0": 5_919_312, "S": 20_331_360}[variant]


@pytest.fixture(scope="module")
def efficientnet():
    model = build("efficientnet_v2", size=33, variant="B0")
    normalisation(model)[0].adapt(SOME)
    return model


def test_efficientnet_sees_the_last_band_as_red_and_pixels_within_one(efficientnet):
    images = SOME.copy()
    images[0, 0, 3, 5], images[1, 2, 8, 8] = 1e4, np.nan
    scaled = normalisation(efficientnet)[0](images).numpy()
    colours = np.moveaxis(scaled[:, ::-1], 1, -1) / np.arcsinh(250)
    assert colours.max() == colours[0, 3, 5, 2] == pytest.approx(1)
    assert colours[1, 8, 8, 0] == 0
    body = efficientnet.get_layer("efficientnetv2-b0")
    expected = efficientnet.get_layer("p")(body(colours)).numpy()
    np.testing.assert_allclose(efficientnet(images).numpy(), expected, atol=1e-6)


def test_efficientnet_is_the_same_after_saving(efficientnet, tmp_path):
    efficientnet.save(tmp_path / "model.keras")
    back = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(back(SOME), efficientnet(SOME))


def test_efficientnet_takes_other_bands_crops_and_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build("efficientnet_v2", "griz", 41, variant="B0", crop=33, dropout=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("to_rgb").output.shape == (None, 33, 33, 3)
    assert model.get_layer("efficientnetv2-b0").compute_dtype == "float16"
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    p = model(np.zeros((2, 4, 41, 41), np.float32))
    assert p.dtype == "float32"
    assert np.isfinite(p).all()


def test_efficientnet_names_what_it_can_not_do():
    with pytest.raises(LenspipeError, match="found variant 'L', expected one of B0, S"):
        build("efficientnet_v2", variant="L")
    with pytest.raises(LenspipeError, match=r"network_settings: .*at least 32x32"):
        build("efficientnet_v2", size=21, variant="B0")
    with pytest.raises(LenspipeError, match=r"network_settings: .*weights"):
        build("efficientnet_v2", size=33, variant="B0", weights="nowhere.h5")


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty folder for Keras' downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        ConnectionResetError("Connection reset"),
    ],
)
def test_without_imagenet_weights_it_starts_from_random_ones(
    error, keras_home, monkeypatch, caplog
):
    caplog.set_level("INFO", "lenspipe")

    def refuse(address, *args):
        assert address.endswith("/efficientnet_v2/efficientnetv2-b0_notop.h5")
        raise error

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    model = build("efficientnet_v2", size=33, variant="B0", weights="imagenet")
    assert model.output_shape == (None, 1)
    (line,) = caplog.messages
    assert "the ImageNet weights are not available (" in line
    assert "starting from random ones. To use them, put https://" in line
    assert line.endswith(f"efficientnetv2-b0_notop.h5 into {keras_home / 'models'}")


def test_a_mistake_in_fetching_is_not_taken_for_a_missing_network(keras_home, monkeypatch):
    def fail(*args, **kwargs):
        raise AttributeError("a mistake")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)
    with pytest.raises(AttributeError):
        build("efficientnet_v2", size=33, variant="B0", weights="imagenet")


def test_imagenet_weights_are_used_where_available(efficientnet, monkeypatch, tmp_path):
    body = efficientnet.get_layer("efficientnetv2-b0")
    body.save_weights(tmp_path / "pretrained.weights.h5")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file", lambda *_, **__: tmp_path / "pretrained.weights.h5"
    )
    model = build("efficientnet_v2", size=33, variant="B0", weights="imagenet")
    for one, other in zip(
        model.get_layer("efficientnetv2-b0").get_weights(), body.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_layers_of_models_within_models_are_found():
    inner = build("cmu_deeplens", size=21, **SMALL)
    within = keras.Model(inner.input, keras.Sequential([inner])(inner.input))
    assert normalisation(within) == [inner.get_layer("normalise")]
    synchronise(within)
    batch = [la for la in inner.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert len(batch) > 3
    assert all(layer.synchronized for layer in batch)


def test_networks_give_probabilities_for_any_number_of_bands():
    for name, settings in (("cmu_deeplens", SMALL), ("shielded_resnet", {"units": 1, "stages": 2})):
        model = build(name, bands="griz", size=21, **settings)
        p = model(np.random.default_rng(0).normal(size=(3, 4, 21, 21)).astype(np.float32)).numpy()
        assert p.shape == (3, 1)
        assert ((p > 0) & (p < 1)).all()


def test_unknown_network_setting_and_value_are_named():
    known = f"{', '.join(NETWORKS)}, or a Python file and a function"
    with pytest.raises(
        LenspipeError, match=rf"training\.network: found 'vgg', expected one of {known}"
    ):
        build("vgg")
    assert tuple(NETWORKS) == config_networks
    with pytest.raises(LenspipeError, match=r"network_settings\.depth: cmu_deeplens has no such"):
        build("cmu_deeplens", depth=3)
    with pytest.raises(LenspipeError, match=r"can't be built from \{'widths': 5\}"):
        build("cmu_deeplens", widths=5)


def test_crop_keeps_the_centre_only():
    model = build("cmu_deeplens", size=21, crop=11, **SMALL)
    images = np.random.default_rng(0).normal(size=(2, 3, 21, 21)).astype(np.float32)
    p = model(images).numpy()
    images[:, :, :5] = images[:, :, 16:] = 7
    images[..., :5] = images[..., 16:] = 7
    np.testing.assert_allclose(model(images), p, atol=1e-7)
    images[:, :, 5] = 7
    assert not np.allclose(model(images), p, atol=1e-7)
    for crop in (12, 23):
        with pytest.raises(LenspipeError, match=f"crop must be odd and at most 21, found {crop}"):
            build("cmu_deeplens", size=21, crop=crop)


def test_normalise_measures_level_and_noise_in_spite_of_sources_and_gaps():
    rng = np.random.default_rng(0)
    noise, level = np.array([0.003, 0.01]), np.array([0.0, 0.1])
    images = level[:, None, None] + noise[:, None, None] * rng.normal(size=(50, 2, 31, 31))
    images[:, :, 14:17, 14:17] += 5
    images[0, 0] = np.nan
    layer = Normalise(["g", "r"])
    layer.build((None, 2, 31, 31))
    layer.adapt(images)
    np.testing.assert_allclose(np.ravel(layer.noise_nmgy), noise, rtol=0.03)
    np.testing.assert_allclose(np.ravel(layer.level_nmgy), level, atol=2e-4)
    scaled = layer(images.astype(np.float32)).numpy()
    assert np.isfinite(scaled).all()
    assert (scaled[0, 0] == 0).all()
    assert scaled.max() == 250
    assert scaled[:, :, :10].std() == pytest.approx(1, rel=0.05)


def test_normalise_refuses_images_without_noise():
    layer = Normalise(["g", "r"])
    layer.build((None, 2, 5, 5))
    images = np.random.default_rng(0).normal(size=(4, 2, 5, 5))
    images[:, 1] = np.nan
    with pytest.raises(LenspipeError, match="no noise in band r"):
        layer.adapt(images)


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.floats(width=32), st.booleans())
def test_normalise_is_finite_and_bounded_for_any_pixel(value, compress):
    layer = Normalise(["g"], compress=compress)
    result = layer(np.full((1, 1, 2, 2), value, np.float32)).numpy()
    assert (np.abs(result) <= (np.arcsinh(250) if compress else 250) + 1e-4).all()


def test_model_is_the_same_after_saving(tmp_path):
    model = build("cmu_deeplens", bands="gr", size=21, compress=True, **SMALL)
    images = np.random.default_rng(0).normal(size=(8, 2, 21, 21)).astype(np.float32)
    model.get_layer("normalise").adapt(images)
    model.save(tmp_path / "model.keras")
    back = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert back.get_layer("normalise").bands == ["g", "r"]
    np.testing.assert_array_equal(back(images), model(images))


def test_faint_pixels_survive_half_precision():
    # Below half precision's smallest number: all of it would be lost before it is scaled.
    images = np.random.default_rng(0).normal(0, 1e-9, (4, 3, 21, 21)).astype(np.float32)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build("cmu_deeplens", size=21, **SMALL)
        model.get_layer("normalise").adapt(images)
        normalised = keras.Model(model.input, model.get_layer("normalise").output)
        assert normalised(images).numpy().std() == pytest.approx(1, rel=0.1)
        assert normalised.compute_dtype == "float16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(images).dtype == "float32"
