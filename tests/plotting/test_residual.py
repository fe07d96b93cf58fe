"""Tests of lenspipe.plotting.residual."""

import numpy as np
import pytest

from lenspipe.plotting.residual import residual_images
from lenspipe.utils.errors import LenspipeError

SIZE = 101


def galaxy(ratio, angle_deg, offset=(0, 0), radius=4.0):
    """Exponential galaxy in three bands, major axis at a position angle from North to East."""
    row, column = np.indices((SIZE, SIZE)) - SIZE // 2
    north, east = row - offset[1], -(column - offset[0])
    angle = np.deg2rad(angle_deg)
    along = east * np.sin(angle) + north * np.cos(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    r = np.sqrt(along**2 * ratio + across**2 / ratio + 4)
    return np.exp(-r / radius) * np.array([0.3, 1.0, 2.0])[:, None, None]


def tractor_shape(ratio, angle_deg):
    e, angle = (1 - ratio) / (1 + ratio), np.deg2rad(angle_deg)
    return [e * np.cos(2 * angle), e * np.sin(2 * angle)]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("ratio", "angle"), [(1.0, 0), (0.6, 30), (0.6, 120), (0.4, 80)])
def test_a_smooth_galaxy_leaves_little(ratio, angle, given):
    image = galaxy(ratio, angle, offset=(0.4, -0.3))
    shapes = [tractor_shape(ratio, angle)] if given else None
    residual = residual_images(image[None], shapes)[0]
    assert residual.dtype == np.float32
    assert residual.shape == image.shape
    for left, band in zip(residual, image, strict=True):
        assert np.abs(left).max() < 0.06 * band.max()
        assert np.abs(left).mean() < 0.08 * band.mean()


def test_a_wrong_ellipse_leaves_more():
    image = galaxy(0.5, 30)[None]
    right, wrong = (
        np.abs(residual_images(image, [tractor_shape(0.5, angle)])).sum() for angle in (30, -30)
    )
    assert wrong > 5 * right


@pytest.mark.parametrize("extent", [0.5, np.inf])
def test_arcs_and_rings_stay(extent):
    row, column = np.indices((SIZE, SIZE)) - SIZE // 2
    r, angle = np.hypot(row, column), np.arctan2(row, column)
    arc = 0.05 * np.exp(-(((r - 12) / 1.5) ** 2) - (angle / extent) ** 2)
    image = galaxy(0.8, 50) + arc
    residual = residual_images(image[None])[0]
    ridge = arc > 0.8 * arc.max()
    # Of a ring that fills its annulus is left what outshines the light inside.
    least = 0.8 if np.isfinite(extent) else 0.4
    assert residual[0][ridge].mean() > least * arc[ridge].mean()


def test_no_data_is_no_harm():
    rng = np.random.default_rng(3)
    images = np.stack([galaxy(0.7, 10) + rng.normal(0, 0.01, (3, SIZE, SIZE))] * 4)
    whole = residual_images(images[:1])[0]
    images[1, :, 70:] = np.nan
    images[2, 0] = np.nan
    images[3] = np.nan
    images[0, 1, 3, 4] = np.inf
    residual = residual_images(images, np.full((4, 2), np.nan))
    np.testing.assert_array_equal(np.isfinite(residual), np.isfinite(images))
    np.testing.assert_allclose(residual[1, :, :60], whole[:, :60], atol=0.02)
    assert residual_images(images[:0]).shape == (0, 3, SIZE, SIZE)


def test_images_do_not_touch_each_other():
    images = np.stack([galaxy(0.3 + 0.004 * i, i) for i in range(140)])
    together = residual_images(images)
    np.testing.assert_allclose(together[139], residual_images(images[139:])[0], atol=1e-6)


def test_other_arrays_are_named():
    with pytest.raises(LenspipeError, match=r"found an array of shape \(3, 5, 5\), expected"):
        residual_images(np.zeros((3, 5, 5)))
    with pytest.raises(LenspipeError, match=r"found shapes of shape \(1,\), expected \(2, 2\)"):
        residual_images(np.zeros((2, 3, 5, 5)), [0.1])
