"""Light and noise of the population's lenses, against astropy's profile and by hand."""

import numpy as np
import pandas as pd
import pytest
from astropy.modeling.models import Sersic1D
from scipy.integrate import quad

from lenspipe.completeness.expected.brightness import _spot_snr, lens_light, trace_arcs
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.simulation.injection import noise_from_depth
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.simulation.psf import Psf

RELEASE = RELEASES["dr9"]
SCALE, SEEING = RELEASE.pixel_scale_arcsec, 1.2


def profile(radius, flux, r_half):
    """De Vaucouleurs' brightness per square arcsec."""
    unit = Sersic1D(amplitude=1, r_eff=r_half, n=4)
    total, _ = quad(lambda r: 2 * np.pi * r * unit(r), 0, 2000 * r_half, limit=500)
    return flux / total * unit(radius)


def test_light_of_the_lens_is_de_vaucouleurs():
    distance = np.array([0.0, 0.5, 1.3, 4.0])
    light = lens_light(50.0, 1.3, distance, 1e-9, 0.2)
    assert light[1:] == pytest.approx(0.2**2 * profile(distance, 50.0, 1.3)[1:], rel=2e-3)
    # The seeing, as the standard deviation of a Gaussian, adds in quadrature to the distance.
    smoothed = lens_light(50.0, 1.3, distance, SEEING, 0.2)
    expected = 0.2**2 * profile(np.hypot(distance, SEEING / 2.355), 50.0, 1.3)
    assert smoothed == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("mag", "mag_source"), [(17.0, 24.0), (22.0, 20.5), (15.0, 21.0)])
def test_noise_is_that_of_sky_lens_and_arcs(mag, mag_source):
    noise, size = 0.004, 61
    lens = {
        "theta_e_arcsec": 1.4, "mass_e1": 0.05, "mass_e2": 0.0, "shear_1": 0.0, "shear_2": 0.02,
        "beta_1": 0.2, "beta_2": 0.1, "source_r_half": 0.2, "clump_seed": 4,
    }  # fmt: skip
    row = lens | {"shape_r": 0.8}
    for band in "gr":
        row |= {f"mag_{band}": mag, f"source_mag_{band}": mag_source, f"psfsize_{band}": SEEING}
        row[f"galdepth_{band}"] = (noise_from_depth(1.0, SEEING, SCALE) / noise) ** 2
    snr, magnification, mags, _ = trace_arcs(pd.DataFrame([row]), "gr", size, RELEASE)

    flux = 10 ** (0.4 * (22.5 - mag_source))
    arcs, magnified = blurred_arcs(lens, np.array([flux]), [Psf.round(SEEING)], size, SCALE)
    axis = SCALE * (np.arange(arcs.shape[-1]) - arcs.shape[-1] // 2)
    distance = np.hypot(np.hypot(axis[:, None], axis), SEEING / 2.355)
    # Photons of a sky of 22.0 mag per square arcsec in g, whose noise is all of the sky's.
    electrons = 10 ** (0.4 * 0.5) * SCALE**2 / noise**2
    light = SCALE**2 * profile(distance, 10 ** (0.4 * (22.5 - mag)), 0.8)
    variance = noise**2 + (light + arcs[0]) / electrons
    above = arcs[0] ** 2 > variance
    expected = arcs[0][above].sum() / np.sqrt(variance[above].sum())
    assert snr[0, 0] == pytest.approx(expected, rel=5e-3)
    assert magnification[0] == pytest.approx(magnified)
    assert mags[0] == pytest.approx(mag_source - 2.5 * np.log10(magnified))


def test_a_lens_of_no_size_has_finite_light():
    given = {"mag": 18.0, "source_mag": 23.0, "psfsize": 1.2, "galdepth": 900.0}
    row = {f"{name}_{band}": value for name, value in given.items() for band in "gr"}
    row |= dict.fromkeys(("mass_e1", "mass_e2", "shear_1", "shear_2", "beta_2"), 0.0)
    row |= {"theta_e_arcsec": 1.2, "beta_1": 0.3, "source_r_half": 0.2, "clump_seed": 1}
    rows = pd.DataFrame([row | {"shape_r": 0.0}, row | {"shape_r": 0.1}])
    snr, *_ = trace_arcs(rows, "gr", 61, RELEASE)
    assert snr[0, 0] == snr[1, 0] > 5


@pytest.mark.parametrize("peak", [0.9, 1.5, 4.0])
def test_two_spots_are_summed_over_pixels_brighter_than_the_noise(peak):
    """As one Gaussian of their area on a fine grid, with that peak in units of the noise."""
    given = np.array([1.0]), np.array([0.4]), np.array([0.2]), np.array([SEEING]), 1.0, SCALE
    magnification = _spot_snr(np.array([[1.0]]), *given)[1][0]
    # The source is magnified in area, and seen twice through the seeing.
    area = 4 * np.pi * (SEEING / 2.355) ** 2 + 2 * np.pi * magnification * (0.2 / 1.18) ** 2
    axis = np.arange(-8, 8, 0.02)
    spot = peak * np.exp(-(axis[:, None] ** 2 + axis**2) * np.pi / area)
    pixel, above = (0.02 / SCALE) ** 2, spot > 1
    snr, _ = _spot_snr(np.array([[spot.sum() * pixel / magnification]]), *given)
    expected = spot[above].sum() * pixel / np.sqrt(max(above.sum(), 1) * pixel)
    assert snr[0, 0] == pytest.approx(expected, rel=0.01, abs=1e-3)
