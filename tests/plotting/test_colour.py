"""Stretches of colour images, and the difference of two bands."""

import numpy as np
import pytest

from lenspipe.plotting.colour import STRETCHES, colour_images, sky_level, viewer_rgb
from lenspipe.plotting.residual import band_difference


@pytest.mark.parametrize("stretch", STRETCHES)
def test_the_sky_keeps_its_level_in_every_stretch(stretch):
    # 0.03 asinh(0.6) / (0.03 sqrt(20)) of the viewer is 0.127.
    assert sky_level(stretch) == pytest.approx(0.127, abs=1 / 255)
    assert viewer_rgb(np.zeros((1, 3, 2, 2))).max() == 32
    ramp = np.linspace(-0.019, 0.5, 60, dtype=np.float32)
    image = np.broadcast_to(ramp, (1, 3, 1, 60)) / np.array([6, 3.4, 2.2])[None, :, None, None]
    levels = colour_images(image, "grz", stretch)[0, 0].astype(int)
    assert (np.diff(levels, axis=0) >= 0).all()
    assert np.ptp(levels, axis=1).max() <= 1  # grey
    assert levels[0].max() < 32 < 100 < levels[-1].min()


def test_linear_is_linear():
    flux = np.array([0.05, 0.1, 0.2], np.float32)  # scaled: white is 0.3
    image = np.repeat(flux[None, None, None] / np.float32(3.4), 3, axis=1)
    levels = colour_images(image, "rrr", "linear")[0, 0, :, 0]
    np.testing.assert_allclose(levels / 255, 0.127 + 0.873 * flux / 0.3, atol=0.005)


def test_the_difference_of_bands_leaves_the_arc():
    y, x = np.indices((41, 41)) - 20
    galaxy = np.exp(-np.hypot(x, 3 * y) / 4)  # elongated
    ring = 0.05 * (abs(np.hypot(x, y) - 10) < 1)
    image = np.stack([galaxy + ring, 2.0 * galaxy, 5.0 * galaxy]).astype(np.float32)
    image[0, 0, 0] = np.nan
    difference = band_difference(image)
    assert np.isnan(difference[0, 0])
    np.testing.assert_allclose(difference.ravel()[1:], ring.ravel()[1:], atol=1e-5)
    np.testing.assert_array_equal(band_difference(image * [[[1]], [[1]], [[-1]]])[1:], image[0, 1:])
