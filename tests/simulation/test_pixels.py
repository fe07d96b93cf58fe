"""Tests of the pixels of the simulated sky: exposures, noise, artefacts, dust."""

from dataclasses import replace
from typing import get_args

import fitsio
import numpy as np
import pandas as pd
import pytest

from lenspipe.config.data import Effect
from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import load_settings
from lenspipe.simulation import artefacts
from lenspipe.simulation.artefacts import (
    BRIGHT_FLUX,
    SATURATION,
    add_bad_columns,
    add_bright_star,
    add_cosmic_rays,
    add_ghosts,
    add_sky_residuals,
    add_stamp_artefacts,
    add_trails,
)
from lenspipe.simulation.dust import (
    TYPICAL_EBV,
    add_cirrus,
    at_positions,
    dust_map,
    transmission,
)
from lenspipe.simulation.exposures import (
    BANDS,
    SEEING_ARCSEC,
    TILE_PIXELS,
    draw_exposures,
    draw_stamp_conditions,
)
from lenspipe.simulation.noise import (
    brick_noise,
    kernels,
    large_scale_noise,
    stamp_noise,
    variance,
)
from lenspipe.simulation.psf import Psf
from lenspipe.simulation.sky import _observe_band, _paint, simulate

EFFECTS = get_args(Effect)
BRICK = "1501p320"
RA, DEC = 150.1, 32.0
SHIFT = 1800 * 0.262 / 3600
REGIONS = ("north", "south")


def correlation(noise, dy, dx):
    one, other = noise[: -dy or None, : -dx or None], noise[dy:, dx:]
    return (one * other).mean() / (noise**2).mean()


# Exposures.


@pytest.mark.parametrize("region", REGIONS)
def test_neighbouring_bricks_have_the_same_exposures(region):
    here = draw_exposures(1, "g", region, RA, DEC)
    # The same piece of sky seen 1800 pixels further up, and further to the West.
    above = draw_exposures(1, "g", region, RA, DEC + SHIFT)
    beside = draw_exposures(1, "g", region, RA - SHIFT / np.cos(np.radians(DEC)), DEC)
    for other, mine, theirs in (
        (above, np.s_[1800:], np.s_[:1800]),
        (beside, np.s_[:, 1800:], np.s_[:, :1800]),
    ):
        maps, others = list(here.maps()), list(other.maps())
        add_bad_columns(here, *maps)
        add_bad_columns(other, *others)
        for one, another in zip(maps, others, strict=True):
            # Edges of detectors may be a pixel off.
            assert np.isclose(one[mine], another[theirs], rtol=1e-4).mean() > 0.99
    for x, y in ((100, 3300), (2000, 2500)):
        psf, same = here.psf_at(x, y), above.psf_at(x, y - 1800)
        assert same.fwhm_arcsec == pytest.approx(psf.fwhm_arcsec, rel=1e-6)
    other_seed, other_band = (
        draw_exposures(seed, band, region, RA, DEC) for seed, band in ((2, "g"), (1, "r"))
    )
    assert not np.array_equal(here.maps()[0], other_seed.maps()[0])
    assert not np.array_equal(here.maps()[0], other_band.maps()[0])


def test_maps_are_those_of_the_exposures():
    exposures = draw_exposures(1, "r", "south", RA, DEC)
    number, invvar = exposures.maps()
    assert (number.dtype, invvar.dtype) == (np.int16, np.float32)
    assert 5 < number.mean() < 8
    for x, y in ((5, 7), (1000, 3000), (3599, 2)):
        mask = exposures.covering(x, y)
        assert number[y, x] == mask.sum()
        assert invvar[y, x] == pytest.approx((exposures.sigma[mask] ** -2).sum(), rel=1e-5)
        weights, phases = exposures.weights_and_phases(x, y)
        assert len(weights) == len(phases) == mask.sum()
        assert weights.sum() == pytest.approx(1)
    assert np.array_equal(invvar > 0, number > 0)


def test_the_psf_of_a_coadd_is_the_weighted_sum():
    exposures = draw_exposures(1, "r", "south", RA, DEC)
    x, y = 1000, 3000
    mask = exposures.covering(x, y)
    weights = exposures.sigma[mask] ** -2
    every = Psf(
        weights / weights.sum(), exposures.fwhm[mask], exposures.e1[mask], exposures.e2[mask]
    )
    psf = exposures.psf_at(x, y)
    assert psf.weights.sum() == pytest.approx(1)
    centre = np.zeros(1)
    assert psf.profile(centre, centre) == pytest.approx(every.profile(centre, centre), rel=1e-3)
    assert psf.fwhm_arcsec == pytest.approx(every.fwhm_arcsec, rel=0.06)
    constant = exposures.without_variation()
    assert constant.psf_at(x, y).fwhm_arcsec == pytest.approx(constant.psf_at(9, 9).fwhm_arcsec)
    assert not constant.e1.any()


def test_where_no_exposure_reaches_the_psf_is_the_nearest():
    exposures = draw_exposures(1, "r", "south", RA, DEC)
    one = {
        name: getattr(exposures, name)[:1]
        for name in ("fwhm", "e1", "e2", "sigma", "offset", "phase", "corner", "seeds")
    }
    corners = {"x0": 0, "x1": 100, "y0": 0, "y1": 100}
    one |= {name: np.array([value]) for name, value in corners.items()}
    single = replace(exposures, **one)
    assert single.psf_at(3000, 3000).fwhm_arcsec == pytest.approx(exposures.fwhm[0])
    assert single.maps()[0].sum() == 100**2


@pytest.mark.parametrize("region", REGIONS)
def test_conditions_of_stamps_are_the_surveys(region):
    rng = np.random.default_rng(1)
    drawn = [draw_stamp_conditions(rng, region) for _ in range(600)]
    fwhm = np.array([[psf.fwhm_arcsec for psf in one.psfs] for one in drawn])
    for i, band in enumerate(BANDS):
        assert np.median(fwhm[:, i]) == pytest.approx(SEEING_ARCSEC[region][band], rel=0.03)
    scatter = np.log(fwhm).std(axis=0)
    assert ((scatter > 0.12) & (scatter < 0.19)).all()
    assert np.corrcoef(np.log(fwhm).T)[0, 1] == pytest.approx(0.5, abs=0.15)
    sigma = np.array([one.sigma for one in drawn])
    if region == "south":
        # Per pixel of the coadd, whose noise resampling makes smaller.
        low, high = np.array([[0.0022, 0.0033, 0.0095], [0.0028, 0.0040, 0.0110]])
        median = 0.89 * np.median(sigma, axis=0)
        assert ((median > low) & (median < high)).all()
    assert np.log(sigma).std(axis=0) == pytest.approx(0.26, abs=0.05)
    numbers = np.array([one.exposures for one in drawn])
    assert numbers.min() >= 1
    assert np.median(numbers) in (6, 7)
    regions = [draw_stamp_conditions(rng).region for _ in range(200)]
    assert 0.15 < np.mean([name == "north" for name in regions]) < 0.45


# Noise.


def test_noise_is_correlated_as_in_the_surveys_coadds():
    rng = np.random.default_rng(1)
    rows = {False: [], True: []}
    empty = np.zeros((3, 101, 101), np.float32)
    for _ in range(300):
        conditions = draw_stamp_conditions(rng, "south")
        noise = stamp_noise(rng, conditions, empty) / conditions.sigma[:, None, None]
        offsets = [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (1, 1)]
        row = [correlation(noise[1], *offset) for offset in offsets]
        rows[conditions.service_phase is not None].append([*row, noise[1].std()])
    coadds, service = (np.mean(rows[key], axis=0) for key in (False, True))
    # Measured outside sources on real coadds, and on stamps of the cutout service.
    assert coadds[:2].mean() == pytest.approx(0.118, rel=0.1)
    assert coadds[2:4].mean() == pytest.approx(-0.076, rel=0.12)
    assert coadds[4:6].mean() == pytest.approx(0.030, rel=0.15)
    assert coadds[6] == pytest.approx(0.016, abs=0.005)
    assert coadds[7] == pytest.approx(0.90, abs=0.02)
    assert service[:2].mean() == pytest.approx(0.226, rel=0.14)
    assert service[2:4].mean() == pytest.approx(-0.135, rel=0.12)
    # From place to place.
    assert np.std(np.array(rows[False])[:, 0]) == pytest.approx(0.045, abs=0.015)


def test_noise_of_bass_is_correlated_over_its_larger_pixels():
    rng = np.random.default_rng(1)
    kernel = kernels(np.ones(1), np.zeros((1, 2)), "north", "g")
    assert kernel.sum(axis=1).prod() == pytest.approx(large_scale_noise("north", "g"), rel=0.02)
    assert large_scale_noise("north", "g") == pytest.approx(0.4547 / 0.262, rel=0.01)
    assert large_scale_noise("south", "g") == pytest.approx(1, abs=0.01)
    assert large_scale_noise("north", "z") == pytest.approx(1, abs=0.01)
    conditions = draw_stamp_conditions(rng, "north")
    while conditions.service_phase is not None:
        conditions = draw_stamp_conditions(rng, "north")
    noise = stamp_noise(rng, conditions, np.zeros((3, 601, 601), np.float32))
    assert correlation(noise[0], 0, 1) == pytest.approx(0.59, abs=0.02)
    assert correlation(noise[2], 0, 1) < 0.3


@pytest.mark.parametrize(("region", "band"), [("south", "r"), ("north", "g")])
def test_inverse_variance_says_the_noise(region, band):
    exposures = draw_exposures(1, band, region, RA, DEC)
    _, invvar = exposures.maps()
    pixel_variance = variance(np.zeros_like(invvar), invvar, band)
    noise = brick_noise(np.random.default_rng(1), exposures, pixel_variance)
    pull = noise * np.sqrt(invvar)
    assert pull.dtype == np.float32
    # Resampling averages pixels ...
    assert pull[invvar > 0].std() == pytest.approx(0.895, abs=0.02)
    # ... but keeps sums over many of them, except where it makes pixels smaller.
    boxes = pull.reshape(120, 30, 120, 30).sum(axis=(1, 3)) / 30
    whole = (invvar > 0).reshape(120, 30, 120, 30).all(axis=(1, 3))
    assert boxes[whole].std() == pytest.approx(large_scale_noise(region, band), rel=0.03)
    white = brick_noise(np.random.default_rng(1), exposures, pixel_variance, correlated=False)
    assert abs(correlation(white, 0, 1)) < 0.002
    assert (white * np.sqrt(invvar))[invvar > 0].std() == pytest.approx(1, abs=0.002)


def test_sources_have_photon_noise():
    flux = np.array([[-1.0, 0.0, 0.02]], np.float32)
    invvar = np.array([[1e5, 1e5, 1e5]], np.float32)
    sky, same, source = variance(flux, invvar, "r")[0]
    assert sky == same == pytest.approx(1e-5)
    # The sky is 0.228 nanomaggies per pixel.
    assert source == pytest.approx(1e-5 * (1 + 0.02 / 0.228), rel=0.01)
    assert variance(flux, np.zeros_like(invvar), "r").tolist() == [[0, 0, 0]]


# Artefacts.


def star(flux, region="south", x=300.0, y=310.0, side=601):
    image, mask = np.zeros((side, side), np.float32), np.zeros((side, side), bool)
    add_bright_star(
        [image], [mask], x, y, [flux], [Psf.round(1.2)], region, np.random.default_rng(1)
    )
    return image, mask


def test_halos_spikes_and_bleeds_grow_with_the_star():
    faint, bright = star(1000.0), star(1e5)
    assert 950 < faint[0].sum() < 1200
    assert (bright[0] > 0.01).sum() > 10 * (faint[0] > 0.01).sum()
    # Spikes along the diagonals, and a trail along the rows of the detector.
    image, mask = bright
    assert image[310 + 60, 300 + 60] > 2 * image[310, 300 + 85]
    assert mask[310].sum() > 100 > faint[1][310].sum() > 5
    assert mask[:, 300].sum() < 20
    image, mask = star(1e5, "north")
    assert image[310, 300 + 85] > 2 * image[310 + 60, 300 + 60]
    assert mask[:, 300].sum() > 100
    assert not star(BRIGHT_FLUX)[1].any()
    # It may lie outside.
    assert star(1e5, x=-50.0)[0].max() > 0
    assert star(1e5, x=9000.0)[0].max() == 0


def test_ghosts_are_rings_of_the_brightest_stars():
    image, none = np.zeros((2, 3600, 3600), np.float32)
    add_ghosts([image, none], 1800.0, 1800.0, [1e6, 1000.0], np.random.default_rng(1))
    assert 0.9 * 2e-4 * 1e6 < image.sum() < 1.1 * 2e-4 * 1e6
    assert not none.any()
    rows = np.flatnonzero(image.any(axis=1))
    assert 500 < rows[-1] - rows[0] < 1000


@pytest.mark.parametrize("add", [add_trails, add_cosmic_rays])
def test_what_one_exposure_has_alone_is_in_few_of_them(add, monkeypatch):
    monkeypatch.setattr(artefacts, "TRAIL_RATE", 3.0)
    monkeypatch.setattr("lenspipe.simulation.exposures.POINTING_FRACTION", 0.4)
    exposures = draw_exposures(1, "g", "south", RA, DEC)
    number, invvar = exposures.maps()
    image, again = np.zeros((2, 3600, 3600), np.float32)
    add(image, exposures, number, invvar)
    assert image.max() > 5 * exposures.sigma.min() / 2
    assert not image[number > 2].any()
    assert not image[number == 0].any()
    add(again, exposures, number, invvar)
    assert np.array_equal(image, again)
    # Neighbours have it, too.
    above = draw_exposures(1, "g", "south", RA, DEC + SHIFT)
    maps, other = above.maps(), np.zeros((3600, 3600), np.float32)
    add(other, above, *maps)
    alike = np.isclose(image[1800:], other[:1800], atol=exposures.sigma.min())
    assert alike[image[1800:] > 0].mean() > 0.9


def test_bad_columns_are_out_of_both_maps():
    exposures = draw_exposures(1, "g", "south", RA, DEC)
    before, after = exposures.maps(), exposures.maps()
    add_bad_columns(exposures, *after)
    fewer = before[0] - after[0]
    assert fewer.min() == 0
    assert 1e-4 < (fewer > 0).mean() < 0.02
    assert np.array_equal(after[0] > 0, after[1] > 0)
    assert (after[1][fewer > 0] < before[1][fewer > 0]).all()
    assert np.array_equal(after[1][fewer == 0], before[1][fewer == 0])


def test_sky_residuals_are_small_and_smooth():
    exposures = draw_exposures(1, "g", "south", RA, DEC)
    image = np.zeros((3600, 3600), np.float32)
    add_sky_residuals(image, exposures)
    sigma = np.median(exposures.maps()[1]) ** -0.5
    assert 0.005 * sigma < image.std() < 0.2 * sigma
    assert np.median(np.abs(np.diff(image, axis=1))) == 0


def test_dust_is_one_map_of_the_sky():
    here, above = dust_map(1, RA, DEC), dust_map(1, RA, DEC + SHIFT)
    assert np.allclose(here[90:], above[:90], rtol=0.02)
    x, y = np.array([1000.0, 2000.0]), np.array([2800.0, 3000.0])
    assert np.allclose(at_positions(here, x, y), at_positions(above, x, y - 1800), rtol=0.02)
    values = np.array([dust_map(1, ra, dec).mean() for ra in range(0, 360, 9) for dec in (5, 40)])
    assert np.median(values) == pytest.approx(TYPICAL_EBV, rel=0.25)
    assert 0.3 < np.log(values).std() < 0.9
    assert transmission(np.array(0.1), "g") == pytest.approx(10 ** (-0.4 * 0.3214))
    images = {band: np.zeros((3600, 3600), np.float32) for band in BANDS}
    add_cirrus(images, here)
    # The sky subtraction takes the mean away.
    assert abs(images["r"].mean()) < images["r"].std() < 0.003
    assert np.allclose(images["z"], images["r"] * 5 / 3, atol=1e-6)


@pytest.mark.parametrize("effect", sorted(artefacts._STAMP_ARTEFACTS))
def test_artefacts_of_stamps(effect, monkeypatch):
    monkeypatch.setattr(artefacts, "STAMP_FRACTION", 1.0)
    rng = np.random.default_rng(1)
    conditions = draw_stamp_conditions(rng)
    changed = 0
    for _ in range(10):
        images = stamp_noise(rng, conditions, np.zeros((3, 101, 101), np.float32))
        before = images.copy()
        assert add_stamp_artefacts(rng, images, conditions, [effect, "cirrus"]) == effect
        assert images.dtype == np.float32
        assert np.isfinite(images).all()
        assert images.max() <= SATURATION
        changed += not np.array_equal(images, before)
    assert changed >= 5
    assert add_stamp_artefacts(rng, images, conditions, ["cirrus"]) is None


def test_few_stamps_have_artefacts():
    rng = np.random.default_rng(1)
    conditions = draw_stamp_conditions(rng)
    images = np.zeros((3, 101, 101), np.float32)
    shown = [add_stamp_artefacts(rng, images, conditions, EFFECTS) for _ in range(3000)]
    assert 0.02 < np.mean([effect is not None for effect in shown]) < 0.04


# Bricks.


def test_psfsize_is_that_of_the_tiles_psf():
    # A fifth of this brick has no exposure, as is asserted below.
    exposures = draw_exposures(35, "g", "south", RA, DEC)
    image = np.zeros((3600, 3600), np.float32)
    saturated = np.zeros((3600, 3600), bool)
    star = tuple(np.argwhere(exposures.maps()[0] > 0)[0])
    saturated[star] = True
    rng = np.random.default_rng(1)
    maps = _observe_band(rng, image, saturated, exposures, EFFECTS)
    for row, column in ((0, 0), (3, 6), (7, 2)):
        centre = np.array([column, row]) * TILE_PIXELS + (TILE_PIXELS - 1) / 2
        tile = tuple(slice(i * TILE_PIXELS, (i + 1) * TILE_PIXELS) for i in (row, column))
        covered = maps["nexp"][tile] > 0
        expected = exposures.psf_at(*centre).fwhm_arcsec
        assert np.allclose(maps["psfsize"][tile][covered], expected)
        assert not maps["psfsize"][tile][~covered].any()
    empty = maps["nexp"] == 0
    assert 0 < empty.mean() < 0.5
    assert not image[empty].any()
    assert not maps["invvar"][empty].any()
    assert image[star] == pytest.approx(SATURATION, rel=0.1)
    assert (maps["invvar"][~empty] > 0).all()


def test_a_field_may_lack_a_band(monkeypatch):
    monkeypatch.setattr("lenspipe.simulation.exposures.MISSING_FRACTION", 1.0)
    for missing in (True, False):
        exposures = draw_exposures(1, "r", "south", RA, DEC, missing)
        assert len(exposures.x0) == 0 or not missing
        image = np.ones((3600, 3600), np.float32)
        effects = EFFECTS if missing else [e for e in EFFECTS if e != "missing_bands"]
        saturated = np.zeros(image.shape, bool)
        maps = _observe_band(np.random.default_rng(1), image, saturated, exposures, effects)
        assert (maps["nexp"] > 0).all() != missing
        assert (maps["invvar"] > 0).all() != missing
        assert image.any() != missing


@pytest.mark.parametrize("bright_stars", [True, False])
def test_bright_stars_are_drawn_once(bright_stars):
    columns = ["number", "profile", "x", "y", "sersic", "r_half", "e1", "e2"]
    rows = [(1, "psf", 1000.0, 900.0, 0.0, 0.0, 0.0, 0.0)]
    components = pd.DataFrame(rows, columns=columns)
    components[["flux_g", "flux_r", "flux_z"]] = 2000.0
    exposures = {band: draw_exposures(1, band, "south", RA, DEC) for band in BANDS}
    canvas, saturated = _paint(1, components, exposures, "south", bright_stars)
    for band in BANDS:
        assert canvas[band].sum() == pytest.approx(2000, rel=0.15)
        assert saturated[band][900, 1000]
        assert saturated[band][900].sum() > 8 * (1 if bright_stars else 0.1)


def test_a_sky_without_effects_is_a_plain_one(tmp_path):
    few = {"galaxies_per_brick": 5, "faint_per_brick": 5, "stars_per_brick": 3}
    config = {
        "run": "plain",
        "seed": 3,
        "footprint": {"bricks": [BRICK]},
        "simulation": {**few, "lenses_per_brick": 2, "overlap": False, "effects": []},
    }
    simulate(load_settings(config), 1, tmp_path)
    sky = SkyPaths(tmp_path)
    for band in BANDS:
        image, invvar, number, psfsize = (
            fitsio.read(sky.coadd("south", BRICK, kind, band))
            for kind in ("image", "invvar", "nexp", "psfsize")
        )
        assert number.min() >= 1
        assert np.ptp(psfsize) < 1e-4
        pull = (image * np.sqrt(invvar))[::7, :]
        assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.02)
        assert abs(correlation(np.clip(pull, -4, 4), 0, 1)) < 0.02
    assert np.allclose(fitsio.read(sky.tractor("south", BRICK))["ebv"], TYPICAL_EBV)
