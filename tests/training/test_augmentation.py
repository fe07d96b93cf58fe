import numpy as np
import pytest

from lenspipe.config.training import Augmentation
from lenspipe.training.augmentation import N_DRAWS, augment, draw
from lenspipe.utils.tensorflow import tf


def draws_of(**columns):
    """Draws of one example that change nothing but what is named."""
    values = np.full((1, N_DRAWS), 0.5, np.float32)
    for column, value in columns.items():
        values[0, int(column[1:])] = value
    return tf.constant(values)


def random_images(size=9, n=1):
    return np.random.default_rng(0).normal(size=(n, 2, size, size)).astype(np.float32)


def test_each_of_the_eight_symmetries_alike():
    image = np.arange(2 * 5 * 5, dtype=np.float32).reshape(2, 5, 5)
    turned = [np.rot90(image, k, (1, 2)) for k in range(4)]
    symmetries = [a.tobytes() for a in turned + [a[:, ::-1] for a in turned]]
    many = tf.constant(np.tile(image, (800, 1, 1, 1)))
    images = augment(many, draw(800, (3, 4)), Augmentation()).numpy()
    counts = [sum(a.tobytes() == s for a in images) for s in symmetries]
    assert sum(counts) == 800
    assert min(counts) > 60
    again = augment(many, draw(800, (3, 4)), Augmentation()).numpy()
    np.testing.assert_array_equal(images, again)


def test_nothing_asked_for_is_nothing_done():
    images = random_images(n=5)
    same = augment(images, draw(5, (1, 2)), Augmentation(symmetries=False))
    np.testing.assert_array_equal(same, images)


@pytest.mark.parametrize(("part", "turns"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_turning_by_right_angles_is_exact(part, turns):
    images = random_images()
    own = Augmentation(symmetries=False, rotation_deg=90)
    turned = augment(images, draws_of(_3=part), own)
    np.testing.assert_allclose(turned, np.rot90(images, turns, (2, 3)), atol=1e-5)


def test_turning_back_gives_a_smooth_image_again():
    y, x = np.mgrid[:41, :41] - 20.0
    blob = np.exp(-((x - 4) ** 2 + (y + 2) ** 2) / 30)[None, None].astype(np.float32)
    own = Augmentation(symmetries=False, rotation_deg=40)
    turned = augment(blob, draws_of(_3=1.0), own)
    assert np.abs(turned - blob).max() > 0.1
    np.testing.assert_allclose(augment(turned, draws_of(_3=0.0), own), blob, atol=0.06)


def test_shift_wraps_around_and_interpolates():
    images = random_images()
    own = Augmentation(symmetries=False, shift_pixels=2)
    moved = augment(images, draws_of(_5=1.0, _6=0.0), own)
    np.testing.assert_allclose(moved, np.roll(images, (2, -2), (2, 3)), atol=1e-5)
    half = augment(images, draws_of(_5=0.625, _6=0.5), own)
    np.testing.assert_allclose(half, (images + np.roll(images, -1, 3)) / 2, atol=1e-5)


def test_zoom_shows_the_middle_larger():
    y, x = np.mgrid[:41, :41] - 20.0
    disc = np.tile(((x**2 + y**2) < 100).astype(np.float32), (1, 1, 1, 1))
    own = Augmentation(symmetries=False, zoom=(0.5, 1.0))
    large = augment(disc, draws_of(_4=0.0), own).numpy()
    assert large.sum() == pytest.approx(4 * disc.sum(), rel=0.05)
    np.testing.assert_allclose(augment(disc, draws_of(_4=1.0), own), disc, atol=1e-5)


def test_noise_is_that_of_each_band_and_differs_between_pixels():
    images = np.zeros((50, 2, 21, 21), np.float32)
    own = Augmentation(symmetries=False, noise=0.5)
    noise = np.array([0.1, 2.0], np.float32)[:, None, None]
    noisy = augment(images, draw(50, (1, 2)), own, noise).numpy()
    np.testing.assert_allclose(noisy.std(axis=(0, 2, 3)), [0.05, 1.0], rtol=0.03)
    other = augment(images, draw(50, (1, 3)), own, noise).numpy()
    assert np.corrcoef(noisy[:, 0].ravel(), other[:, 0].ravel())[0, 1] < 0.03


def test_it_compiles_with_xla():
    own = Augmentation(rotation_deg=90, zoom=(0.9, 1), shift_pixels=3, noise=0.1)
    images, draws = random_images(n=4), draw(4, (5, 6))
    compiled = tf.function(lambda i, d: augment(i, d, own, 0.01), jit_compile=True)
    np.testing.assert_allclose(
        compiled(images, draws), augment(images, draws, own, 0.01), atol=0.01
    )
