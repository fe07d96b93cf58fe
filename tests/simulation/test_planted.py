"""Tests that lenses of the simulated sky and injected ones are one population, painted alike."""

import numpy as np
import pandas as pd
import pytest

from lenspipe.config.learning import Injection
from lenspipe.config.quality import Selection
from lenspipe.simulation import brick
from lenspipe.simulation.brick import Patch, add_arcs
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import Scene
from lenspipe.simulation.injection import inject, lens_rates, noise_from_depth
from lenspipe.simulation.lenses import (
    THETA_E_RANGE,
    Lens,
    draw_lenses,
    is_arc_like,
    sphere_magnification,
)
from lenspipe.simulation.psf import Psf
from lenspipe.simulation.survey import BRICK_PIXELS, RELEASE, ZERO_POINT_MAG
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.survey.photometry import to_flux, to_magnitude

SEEING = {"g": 1.4, "r": 1.2, "z": 1.1}
NOISE = np.array([0.003, 0.005, 0.012])[:, None, None]


class Exposures:
    """Exposures whose coadd has one round PSF everywhere."""

    def __init__(self, fwhm):
        self.psf = Psf.round(fwhm)

    def sky_noise_at(self, x, y):
        return 0.002

    def psf_at(self, x, y):
        return self.psf


def hosts(number, noise=NOISE, mag_z=18.5, r_z=1.1):
    """Cutouts of round galaxies, and their table."""
    rng = np.random.default_rng(1)
    axis = np.arange(101) - 50
    light = np.exp(-np.hypot(axis[:, None], axis) / 4)
    images = light + noise * rng.standard_normal((number, 3, 101, 101))
    table = pd.DataFrame({"id": [f"9010-1-{i}" for i in range(number)]})
    table = table.assign(mag_z=mag_z, mag_r=mag_z + r_z, mag_g=mag_z + r_z + 1.7)
    table = table.assign(shape_e1=0.1, shape_e2=0.0)
    table = table.assign(**{f"psfsize_{band}": fwhm for band, fwhm in SEEING.items()})
    return images.astype(np.float32), table


def plant(truth, places, relative=1.0):
    """Arcs of injected lenses, planted on an empty brick: its images, and the arcs alone.

    `places` are pixels, (N, 2); `relative` is the noise over that of the inverse variance.
    """
    sources = pd.DataFrame(
        {"number": range(len(places)), "kind": "lens", "bx": places[:, 0], "by": places[:, 1]}
    )
    lenses = {
        number: Lens(
            Scene("lens", row["z_lens"]),
            to_flux(np.array([row[f"source_mag_{band}"] for band in BANDS]), ZERO_POINT_MAG),
            row,
        )
        for number, row in enumerate(truth.to_dict("records"))
    }
    empty = {band: np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.float32) for band in BANDS}
    exposures = {band: Exposures(SEEING[band]) for band in BANDS}
    patch = Patch(sources, pd.DataFrame(), lenses)
    return add_arcs(empty, patch, exposures, dict.fromkeys(BANDS, relative))


@pytest.mark.parametrize("selection", [None, Selection()])
def test_injected_arcs_are_those_of_the_sky(selection, monkeypatch):
    monkeypatch.setattr(brick, "HIDDEN_FRACTION", 1.0)
    places = np.array([[1800.3, 1750.8], [700.0, 2900.4], [2500.49, 100.51]])
    wcs = brick_wcs(*brick_grid(RELEASE.brick_deg).centre("1501p320"), RELEASE)
    # Next to no noise, and therefore no photon noise of the arcs.
    images, table = hosts(len(places), noise=0)
    table = table.assign(**{f"galdepth_{band}": 1e12 for band in BANDS})
    table["ra"], table["dec"] = wcs.all_pix2world(places, 0).T
    rng = np.random.default_rng(3)
    lensed, truth = inject(images, table, rng, BANDS, RELEASE, Injection(), selection)
    canvas, arcs = plant(truth, places)
    for number, (x, y) in enumerate(np.floor(places + 0.5).astype(int)):
        window = slice(y - 50, y + 51), slice(x - 50, x + 51)
        planted = np.stack([canvas[band][window] for band in BANDS])
        injected = lensed[number] - images[number]
        assert planted.max() > 0.002
        assert np.abs(injected - planted).max() <= 2e-4 * planted.max()
        assert arcs[number].magnification == truth["magnification"][number]


@pytest.mark.parametrize("relative", [1.0, 1.735])
def test_arcs_are_visible_against_the_same_noise(relative, monkeypatch):
    """Noise of a coadd that inverse variance understates: the survey's galdepth knows it."""
    monkeypatch.setattr(brick, "HIDDEN_FRACTION", 1.0)
    number = 60
    images, table = hosts(number, noise=0)
    images = np.random.default_rng(2).normal(0, 1e-6, images.shape)
    for band in BANDS:
        unit = noise_from_depth(1.0, SEEING[band], RELEASE.pixel_scale_arcsec)
        table[f"galdepth_{band}"] = (unit / (0.002 * relative)) ** 2
    rng = np.random.default_rng(8)
    _, truth = inject(images, table, rng, BANDS, RELEASE, Injection(), Selection())
    _, arcs = plant(truth, np.tile(100.0 + 50 * np.arange(number), (2, 1)).T, relative)
    planted = np.array([arcs[i].visible for i in range(number)])
    assert 10 < planted.sum() < 50
    # Photons of the arcs, which only injected ones have, matter for one on the limit.
    assert (planted != truth["visible"]).sum() <= 1


def spheres(theta_e, beta, r_half, mag_g):
    """Mask of lenses in a range of radii and magnitudes of the arcs, and magnifications."""
    magnification = sphere_magnification(theta_e, beta, r_half)
    flux = to_flux(mag_g, ZERO_POINT_MAG) * magnification
    mag = to_magnitude(flux, ZERO_POINT_MAG)
    return (theta_e > 1.5) & (theta_e < 3) & (mag > 21.4) & (mag < 22.4), magnification


def test_lenses_of_equal_radius_and_brightness_are_alike():
    lenses = draw_lenses(np.random.default_rng(5), 1200)
    sky = pd.DataFrame([lens.model for lens in lenses])
    mag_g = to_magnitude(np.array([lens.fluxes[0] for lens in lenses]), ZERO_POINT_MAG)
    # Uniform in radius and brightness, but within the range as on the sky.
    selection = Selection(theta_e_range=(1.4, 3.1), arc_mag_range=(21.2, 22.6))
    images, table = hosts(900)
    generator = np.random.default_rng(6)
    _, injected = inject(
        images[:, :, 40:61, 40:61], table, generator, BANDS, RELEASE, Injection(), selection
    )
    tables = sky.assign(source_mag_g=mag_g), injected
    values = []
    for one in tables:
        beta = np.hypot(one["beta_1"], one["beta_2"])
        sphere = one["theta_e_arcsec"], beta, one["source_r_half"]
        assert is_arc_like(*sphere).all()
        mask, magnification = spheres(*sphere, one["source_mag_g"])
        assert mask.sum() > 150
        values.append((np.log10(magnification[mask]), beta[mask], one["source_r_half"][mask]))
    for planted, drawn in zip(*values, strict=True):
        error = np.hypot(planted.std() / len(planted) ** 0.5, drawn.std() / len(drawn) ** 0.5)
        assert drawn.mean() == pytest.approx(planted.mean(), abs=3 * error + 0.02)
        assert error < 0.04


def test_massive_galaxies_have_larger_lenses():
    rates, medians = [], []
    for mag_z in (19.0, 18.0, 17.0):
        images, table = hosts(40, mag_z=mag_z)
        rates.append(lens_rates(table, THETA_E_RANGE)[0])
        rng = np.random.default_rng(7)
        _, truth = inject(images, table, rng, BANDS, RELEASE, Injection())
        medians.append(truth["theta_e_arcsec"].median())
    assert rates == sorted(rates)
    assert medians == sorted(medians)
    # The number of sources within goes as sigma^4, with sigma ~ L^(1/4).
    assert rates[1] / rates[0] == pytest.approx(10**0.4, rel=0.15)
