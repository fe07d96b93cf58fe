import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lenspipe._tensorflow import keras
from lenspipe.errors import LenspipeError
from lenspipe.models import Normalise, build

SMALL = {"widths": [4, 8], "units": 1, "stem_filters": 4, "stem_stride": 2}


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
    ("settings", "published", "tolerance"),
    [
        ({}, 60_000, 0.005),
        ({"width": 52, "mid": 32, "shield": 12, "last": 24}, 194_433, 0.01),
    ],
)
def test_shielded_resnet_has_about_the_published_sizes(settings, published, tolerance):
    model = build("shielded_resnet", **settings)
    assert count(model.trainable_weights) == pytest.approx(published, rel=tolerance)


def test_networks_give_probabilities_for_any_number_of_bands():
    for name, settings in (("cmu_deeplens", SMALL), ("shielded_resnet", {"units": 1, "stages": 2})):
        model = build(name, bands="griz", size=21, **settings)
        p = model(np.random.default_rng(0).normal(size=(3, 4, 21, 21)).astype(np.float32)).numpy()
        assert p.shape == (3, 1)
        assert ((p > 0) & (p < 1)).all()


def test_unknown_network_setting_and_value_are_named():
    with pytest.raises(LenspipeError, match=r"training\.network: found 'vgg', expected one of cmu"):
        build("vgg")
    with pytest.raises(LenspipeError, match=r"network_settings\.depth: cmu_deeplens has no such"):
        build("cmu_deeplens", depth=3)
    with pytest.raises(LenspipeError, match=r"can't be made from \{'widths': 5\}"):
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
