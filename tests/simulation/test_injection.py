"""Tests of simulated arcs and of the ray tracing they share with the simulated sky."""

import json
import os
import runpy
import sys
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.cosmology import FlatLambdaCDM
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.ndimage import zoom

from lenspipe.completeness.expected.brightness import trace_arcs
from lenspipe.config.quality import Selection
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.simulation import lensing
from lenspipe.simulation.exposures import draw_stamp_conditions
from lenspipe.simulation.galaxies import mag_star
from lenspipe.simulation.injection import (
    _add_arcs,
    _draw_halos,
    _offsets,
    gain,
    inject,
    noise_from_depth,
    sky_noise,
)
from lenspipe.simulation.lenses import (
    BRIGHT_WEIGHT,
    BRIGHTEST_IMAGES,
    HALOS,
    SIGMA_STAR,
    VISIBLE_SEEING,
    VISIBLE_STRETCH,
    arc_snr,
    deflector_of,
    is_visible,
    known_weight,
    theta_e_densities,
    velocity_dispersion,
)
from lenspipe.simulation.lensing import blurred_arcs, comoving_distance, lensed_light
from lenspipe.simulation.noise import large_scale_noise, stamp_noise
from lenspipe.simulation.psf import Psf, moffat, noise_area
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.utils.errors import LenspipeError

SCALE = RELEASES["dr9"].pixel_scale_arcsec
NOISE = {"g": 0.003, "r": 0.0055, "i": 0.008, "z": 0.014}
SEEING = {"g": 1.3, "r": 1.2, "i": 1.15, "z": 1.1}
MAGS = {"g": 21.0, "r": 19.25, "i": 18.6, "z": 18.12}
#: A small source straight behind a round deflector of 2 arcsec.
POINT = {"theta_e_arcsec": 2.0, "mass_e1": 0.0, "mass_e2": 0.0, "shear_1": 0.0, "shear_2": 0.0}
POINT |= {"source_r_half": 0.04, "beta_1": 0.0, "beta_2": 0.0, "clump_seed": 1}


def psfs(*fwhm):
    return [Psf.round(width) for width in fwhm]


def make_settings(bands="grz", **injection):
    config = {"run": "test", "survey": {"tree": "dr10", "release": "dr10", "bands": list(bands)}}
    config |= {"sample": {"known_lenses": "known.csv"}, "injection": injection}
    return load_settings(config)


def injected_as(bands="grz", **injection):
    """Arguments of `inject`: bands, release and section."""
    settings = make_settings(bands, **injection)
    return settings.survey.bands, settings.release, settings.injection


def make_hosts(number, bands="grz", size=101, **columns):
    """Cutouts of ellipticals at redshift 0.5, a round spot with noise, and their table."""
    rng = np.random.default_rng(7)
    axis = np.arange(size) - size // 2
    spot = np.exp(-np.hypot(axis[:, None], axis) / 3.0)
    images = np.empty((number, len(bands), size, size), np.float32)
    table = pd.DataFrame({"id": [f"10000-1-{i}" for i in range(number)]})
    for i, band in enumerate(bands):
        mag = MAGS[band]
        flux = 10 ** (0.4 * (22.5 - mag))
        images[:, i] = flux * spot / spot.sum() + rng.normal(0, NOISE[band], (number, size, size))
        table[f"mag_{band}"], table[f"psfsize_{band}"] = np.float32(mag), np.float32(SEEING[band])
    for name in ("shape_e1", "shape_e2"):
        table[name] = np.float32(0.1)
    return images, table.assign(**columns)


@pytest.fixture(scope="module")
def hosts():
    return make_hosts(60)


@pytest.fixture(scope="module")
def injected(hosts):
    return inject(*hosts, np.random.default_rng(1), *injected_as())


# Ray tracing against closed forms.


def patch(lens, centre, half=1.0, step=0.01):
    """Flux and centroid (x, y) of what is within a square, in units of the source's flux."""
    axis = np.arange(-half, half, step) + step / 2
    x, y = (grid.ravel() + at for grid, at in zip(np.meshgrid(axis, axis), centre, strict=True))
    light, flux = lensed_light(lens, x, y)
    return light.sum() * step**2 / flux, np.array([x @ light, y @ light]) / light.sum()


@pytest.mark.parametrize("angle", [0.0, 2.1])
def test_a_point_behind_a_sphere_has_two_images(angle):
    beta, theta_e = 1.0, 2.0
    along = np.array([np.cos(angle), np.sin(angle)])
    lens = POINT | dict(zip(("beta_1", "beta_2"), beta / theta_e * along, strict=True))
    for side in (1, -1):
        flux, centroid = patch(lens, (beta + side * theta_e) * along)
        assert centroid == pytest.approx((beta + side * theta_e) * along, abs=0.02)
        assert flux == pytest.approx(abs(1 + side * theta_e / beta), rel=0.01)


def test_a_point_outside_the_sphere_s_cut_has_one_image():
    beta, theta_e = 3.0, 2.0
    lens = POINT | {"beta_1": beta / theta_e}
    flux, centroid = patch(lens, (beta + theta_e, 0))
    assert centroid == pytest.approx([5.0, 0.0], abs=0.02)
    assert flux == pytest.approx(1 + theta_e / beta, rel=0.01)
    total, _ = patch(lens, (0, 0), half=7.0, step=0.02)
    assert total == pytest.approx(flux, rel=0.02)


def test_a_source_straight_behind_is_a_ring():
    axis = np.arange(-3.0, 3.0, 0.01)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    light, _ = lensed_light(POINT | {"theta_e_arcsec": 1.7}, x, y)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    assert np.average(radius, weights=light) == pytest.approx(1.7, rel=0.01)
    quarters, _ = np.histogram(angle, 4, weights=light)
    assert (quarters > 0.15 * light.sum()).all()


@pytest.mark.parametrize(
    ("component", "minor"),
    [({"mass_e1": 0.3}, (1, 0)), ({"mass_e2": 0.3}, (1, 1)), ({"mass_e1": -0.3}, (0, 1))],
)
def test_mass_counts_its_angle_from_north_to_east_as_light_does(component, minor):
    # Along the minor axis of the mass the images of what is straight behind are further out
    # (Keeton & Kochanek 1998: arctanh there, arctan along the major one). North is up, West right.
    minor = np.array(minor) / np.hypot(*minor)
    major = np.array([-minor[1], minor[0]])
    radius = np.arange(0.5, 4.0, 0.005)
    q = (1 - 0.3) / (1 + 0.3)
    far, near = (
        np.average(radius, weights=lensed_light(POINT | component, *(radius * v[:, None]))[0])
        for v in (minor, major)
    )
    f = np.sqrt(1 - q**2)
    assert far / near == pytest.approx(np.arctanh(f) / np.arctan(f / q), rel=0.01)


def test_light_ends_at_the_requested_reach():
    x = np.linspace(0, 6, 601)
    lens = POINT | {"source_r_half": 0.3, "beta_1": 0.5}
    everywhere, flux = lensed_light(lens, x, 0 * x)
    near, same = lensed_light(lens, x, 0 * x, reach=2.0)
    inside = np.abs(x - 3) < 0.6 - 1e-6  # an image is 1 arcsec from it
    assert near[inside] == pytest.approx(everywhere[inside], rel=1e-12)
    assert (near[np.abs(x - 3) > 0.6 + 1e-6] == 0).all()
    assert flux == same


# What the survey's pixels see of it.


@pytest.mark.parametrize("fwhm", [0.8, 1.1, 1.6, 2.2])
def test_psf_conserves_flux(fwhm):
    lens = POINT | {"source_r_half": 0.2, "beta_1": 0.2}
    images, magnification = blurred_arcs(lens, [2.0, 5.0], psfs(fwhm, 1.0), 101, SCALE)
    assert images[0].sum() == pytest.approx(2.0 * magnification, rel=0.005)
    assert images[1].sum() == pytest.approx(5.0 * magnification, rel=0.005)


@pytest.mark.parametrize("fwhm", [0.9, 1.3, 1.8])
def test_an_unlensed_point_looks_like_the_psf(fwhm):
    lens = POINT | {"theta_e_arcsec": 1e-6, "source_r_half": 0.02}
    image = blurred_arcs(lens, [1.0], psfs(fwhm), 101, SCALE, oversampling=40)[0][0]
    axis = (np.arange(len(image)) - len(image) // 2) * SCALE
    expected = SCALE**2 * moffat(np.hypot(axis[:, None], axis), fwhm)
    assert image == pytest.approx(expected, abs=0.01 * expected.max())


@few(max_examples=20, deadline=None, derandomize=True)
@given(
    st.floats(0.8, 3.5), st.floats(0, 0.9), st.floats(0.2, 0.8), st.integers(0, 999),
    st.floats(-0.3, 0.3),
)  # fmt: skip
def test_flux_of_arcs_is_the_source_s_times_the_magnification(theta_e, beta, r_half, seed, e1):
    lens = POINT | {"theta_e_arcsec": theta_e, "beta_1": beta, "source_r_half": r_half}
    lens |= {"clump_seed": seed, "mass_e1": e1}
    images, magnification = blurred_arcs(lens, [3.0], psfs(1.2), 151, SCALE)
    finer = blurred_arcs(lens, [3.0], psfs(1.2), 151, SCALE, oversampling=8)
    assert images.sum() == pytest.approx(3.0 * magnification, rel=0.005)
    # The smallest clumps are smaller than the distance of rays.
    assert magnification == pytest.approx(finer[1], rel=0.03)
    assert np.abs(images - finer[0]).max() <= 0.06 * images.max()


def test_arcs_are_where_the_images_are():
    lens = POINT | {"beta_1": 0.5, "source_r_half": 0.1}
    image = blurred_arcs(lens, [1.0], psfs(0.7), 101, SCALE, oversampling=8)[0][0]
    x = (np.arange(len(image)) - len(image) // 2) * SCALE
    assert x[image.max(axis=0).argmax()] == pytest.approx(3.0, abs=0.14)
    # 1.15 arcsec from both images: what the wings carry across is small.
    right = image[:, x > 1.0].sum() / image.sum()
    assert right == pytest.approx(3 / 4, abs=0.01)


def test_a_small_cutout_shows_the_middle():
    lens = POINT | {"source_r_half": 0.3}
    large = blurred_arcs(lens, [1.0], psfs(1.2), 101, SCALE)[0]
    small = blurred_arcs(lens, [1.0], psfs(1.2), 21, SCALE)[0]
    cut = (large.shape[-1] - 21) // 2
    assert small.shape == (1, 21, 21)
    assert small == pytest.approx(large[:, cut:-cut, cut:-cut], abs=1e-9)


def test_arcs_have_photon_noise():
    arcs = np.full((2, 101, 101), 0.01)
    arcs[1] = 0.05
    gains = np.array([12000.0, 2000.0])
    image = np.ones((2, 101, 101), np.float32)
    _add_arcs(image, arcs.copy(), gains, np.random.default_rng(3))
    added = image - 1
    assert added.mean(axis=(1, 2)) == pytest.approx(arcs[:, 0, 0], rel=0.01)
    assert added.var(axis=(1, 2)) == pytest.approx(arcs[:, 0, 0] / gains, rel=0.05)
    # From pixel to pixel.
    assert np.corrcoef(added[0, :, 1:].ravel(), added[0, :, :-1].ravel())[0, 1] < 0.05


@pytest.mark.parametrize(("fwhm", "half_light"), [(0.9, 0.0), (1.3, 0.45), (2.0, 0.45), (1.2, 2.0)])
def test_noise_area_is_that_of_the_profile(fwhm, half_light):
    side, step = 1024, 0.08
    radius = np.hypot(*(np.indices((side, side)) - side // 2)) * step
    disc = np.exp(-1.678 * radius / half_light) if half_light else (radius == 0).astype(float)
    seen = np.fft.ifft2(
        np.fft.fft2(disc / disc.sum()) * np.fft.fft2(np.fft.ifftshift(moffat(radius, fwhm)))
    ).real
    area = 1 / (seen**2).sum() / step**2
    assert noise_area(fwhm, half_light) == pytest.approx(area, rel=0.03)


def test_noise_is_measured_in_spite_of_the_galaxy():
    images, _ = make_hosts(40)
    images[:, :, 20:40, 60:80] = np.nan
    measured = np.mean([sky_noise(image) for image in images], axis=0)
    assert measured == pytest.approx([NOISE[band] for band in "grz"], rel=0.05)
    images[0, 1] = np.nan
    assert np.isnan(sky_noise(images[0])).tolist() == [False, True, False]


@pytest.mark.parametrize("correlated", [False, True])
def test_noise_is_that_of_boxes_of_pixels(correlated):
    """A BASS coadd: its boxes are 1.7 times as noisy as the inverse variance says."""
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(12):
        conditions = draw_stamp_conditions(rng, "north")
        noise = stamp_noise(rng, conditions, np.zeros((3, 101, 101), np.float32), correlated)
        ratios.append(sky_noise(noise)[:2] / conditions.sigma[:2])
    expected = large_scale_noise("north", "g") if correlated else 1.0
    assert np.mean(ratios) == pytest.approx(expected, rel=0.08)
    assert not correlated or expected == pytest.approx(1.735, abs=0.01)


def sky_steps(image):
    """Noise per pixel from differences of pixels two apart."""
    steps = np.abs(image[:, 2:] - image[:, :-2])
    return np.nanmedian(steps) / (0.67449 * np.sqrt(2))


@pytest.mark.shared
def test_noise_of_real_cutouts_is_that_of_apertures(shared):
    ratios = []
    for path in sorted((shared / "realdata" / "dr10-cutouts").glob("*.npz")):
        with np.load(path) as content:
            cutout = np.moveaxis(content["cutout"], -1, 0).astype(float)
        pixels = np.array([sky_steps(band) for band in cutout])
        ratios.append(sky_noise(cutout) / pixels)
    # Correlated by resampling: what pixels alone say is too little.
    assert 1.1 < np.median(ratios) < 1.3
    (path,) = (shared / "realdata" / "dr6-coadd-0959p805").glob("*-image-g.fits.fz")
    image = fitsio.read(path).astype(float)
    image[fitsio.read(str(path).replace("image", "invvar")) <= 0] = np.nan
    pieces = image[: 35 * 101, : 35 * 101].reshape(35, 101, 35, 101).swapaxes(1, 2)
    pieces = pieces.reshape(-1, 1, 101, 101)
    pieces = [piece for piece in pieces if np.isfinite(piece).all()]
    ratios = [sky_noise(piece)[0] / sky_steps(piece[0]) for piece in pieces]
    assert len(pieces) > 20
    assert 1.7 < np.median(ratios) < 2.1


@pytest.mark.shared
def test_depth_of_a_real_coadd_gives_its_noise(shared):
    """The survey's galdepth, from a real PSF and inverse variance, is turned back to noise."""
    folder = shared / "realdata" / "dr9-cutout"
    (cutout,), (psf,) = (list(folder.glob(f"{name}_*.fits")) for name in ("cutout", "copsf"))
    with fitsio.FITS(cutout) as images, fitsio.FITS(psf) as psfs:
        for band in range(3):
            sigma = np.median(images[2 * band + 2].read()) ** -0.5
            seen = psfs[band].read().astype(float)
            seen /= seen.sum()
            half = zoom(seen, 8, order=3)
            width = 0.262 * (len(seen) - 1) / (len(half) - 1)
            fwhm = 2 * width * np.sqrt((half > half.max() / 2).sum() / np.pi)
            k = 2 * np.pi * np.fft.fftfreq(len(seen), 0.262)
            disc = (1 + (k[:, None] ** 2 + k**2) * (0.45 / 1.678) ** 2) ** -1.5
            galaxy = np.fft.ifft2(np.fft.fft2(seen) * disc).real
            galdepth = (galaxy**2).sum() / sigma**2
            # Wings of the real PSF are heavier still; by Gaussians it was 1.30 to 1.33.
            assert 1 < noise_from_depth(galdepth, fwhm, 0.262) / sigma < 1.12


def test_lenses_of_the_model_have_the_signal_to_noise_of_injected_ones():
    images, table = make_hosts(30, mag_r=np.float32(25.0), mag_z=np.float32(24.0))
    # No galaxy, whose light the model does not know: sky and arcs.
    images = np.random.default_rng(2).normal(0, 1e-6, images.shape)
    table["shape_r"] = 1.0
    for band in "grz":
        noise = noise_from_depth(1.0, SEEING[band], SCALE) / NOISE[band]
        table[f"galdepth_{band}"], table[f"mag_{band}"] = noise**2, 40.0
    rng = np.random.default_rng(1)
    _, truth = inject(images, table, rng, *injected_as(), Selection())
    lenses = pd.concat([table.drop(columns="id"), truth], axis=1)
    snr, magnification, _, _ = trace_arcs(lenses, "grz", 101, RELEASES["dr9"])
    assert (truth["arc_snr"] > 10).sum() > 10
    assert magnification == pytest.approx(truth["magnification"])
    assert snr.max(axis=1) == pytest.approx(truth["arc_snr"], rel=0.02, abs=0.05)


def test_gain_is_that_of_the_sky():
    # A sky of 22 mag per square arcsec.
    sky = 10 ** (0.4 * (22.5 - 22.0)) * 0.262**2
    assert gain([0.003], "g", RELEASES["dr9"]) == pytest.approx(sky / 0.003**2)
    assert gain([1, 1, 1, 1], "griz", RELEASES["dr9"]).shape == (4,)


def test_signal_to_noise_sums_over_pixels_above_the_noise():
    arcs, variance = np.zeros((2, 5, 5)), np.full((2, 5, 5), 4.0)
    arcs[0, 2, :3] = [10.0, 6.0, 1.0]
    variance[0, 2, 1] = np.inf
    assert arc_snr(arcs, variance) == pytest.approx([10 / 2, 0])
    variance[0, 2, 1] = 9.0
    assert arc_snr(arcs, variance) == pytest.approx([16 / np.sqrt(13), 0])


# The whole of it.


def test_truth_describes_the_injected_arcs(hosts, injected):
    images, table = hosts
    out, truth = injected
    assert out.shape == images.shape
    assert out.dtype == np.float32
    assert truth["id"].tolist() == table["id"].tolist()
    assert np.isfinite(truth.select_dtypes("number").to_numpy()).all()
    assert (truth["z_source"] > truth["z_lens"]).all()
    assert truth["z_lens"].to_numpy() == pytest.approx(0.5, abs=0.01)
    for i, band in enumerate("grz"):
        flux = (out[:, i] - images[:, i]).sum(axis=(1, 2))
        mag = 22.5 - 2.5 * np.log10(flux)
        assert mag == pytest.approx(truth[f"arc_mag_{band}"].to_numpy(), abs=0.05), band
        gained = truth[f"source_mag_{band}"] - 2.5 * np.log10(truth["magnification"])
        assert gained.to_numpy() == pytest.approx(truth[f"arc_mag_{band}"].to_numpy())


def test_einstein_radius_is_that_of_the_dispersion(injected):
    _, truth = injected
    cosmology = FlatLambdaCDM(70, 0.3)
    z, behind = truth["z_lens"].to_numpy(), truth["z_source"].to_numpy()
    near, far = (cosmology.comoving_distance(redshift).value for redshift in (z, behind))
    bending = 4 * np.pi * (truth["sigma_v"] / 299792.458) ** 2
    expected = np.degrees(bending * (1 - near / far)) * 3600
    assert truth["theta_e_arcsec"].to_numpy() == pytest.approx(expected.to_numpy(), rel=2e-3)


@pytest.mark.parametrize("theta_e", ["dispersion", "drawn"])
def test_arcs_are_visible(hosts, theta_e):
    chosen = injected_as(theta_e=theta_e, theta_e_range=(1.0, 2.5))
    images, table = hosts
    lensed, truth = inject(images, table, np.random.default_rng(2), *chosen)
    assert truth["theta_e_arcsec"].between(1.0, 2.5).all()
    assert (truth["theta_e_from"] == theta_e).all()
    sigma, seeing = np.array([NOISE[band] for band in "grz"]), SEEING["g"]
    others = images.clip(0)
    for before, after, other, lens in zip(
        images, lensed, others, truth.to_dict("records"), strict=True
    ):
        # The arcs with their photon noise: a little less or more may be seen of them.
        arcs = after - before
        given = other, 0.8 * sigma, lens, lens["magnification"], seeing, SCALE
        assert is_visible(1.1 * arcs, *given)[0]
    # The outer image is beyond the seeing, and images are stretched.
    beta = np.hypot(truth["beta_1"], truth["beta_2"])
    assert (truth["theta_e_arcsec"] * (1 + beta) >= VISIBLE_SEEING * seeing).all()
    stretched = truth["magnification"] * truth["source_r_half"]
    assert (stretched >= VISIBLE_STRETCH * seeing).all()
    assert beta.max() < 1
    if theta_e == "drawn":
        assert truth["theta_e_arcsec"].median() == pytest.approx(1.85, abs=0.3)


def test_bright_arcs_are_known_more_often(hosts, injected):
    # With the same cross-section, known lenses go with the flux of their arcs.
    theta_e, flux = np.full(3, 2.0), np.array([0.5, 1.0, 100.0])
    weight = known_weight(theta_e, flux)
    assert weight[1] / weight[0] == pytest.approx(2**BRIGHT_WEIGHT)
    assert weight[2] / weight[1] == pytest.approx(BRIGHTEST_IMAGES**BRIGHT_WEIGHT)
    _, known = injected
    _, uniform = inject(*hosts, np.random.default_rng(2), *injected_as(), Selection())
    assert known["arc_mag_g"].median() < uniform["arc_mag_g"].median() - 0.5
    assert (known["arc_snr"] > 10).all()
    assert (uniform["arc_snr"] == 0).any()


def test_large_radii_are_those_of_groups():
    fraction, boost, width = np.transpose(HALOS)
    assert fraction.sum() == pytest.approx(1)
    theta_e = np.geomspace(0.01, 100, 4000)
    densities = theta_e_densities(theta_e, np.ones(4000))
    assert trapezoid(densities, theta_e, axis=1) == pytest.approx(fraction, rel=1e-3)
    drawn = _draw_halos(np.random.default_rng(1), 200_000)
    expected = np.sum(fraction * boost * np.exp(width**2 / 2))
    assert drawn.mean() == pytest.approx(expected, rel=0.01)
    in_group = densities[1:].sum(axis=0) / densities.sum(axis=0)
    assert in_group[theta_e > 5].min() > 0.9
    assert in_group[(theta_e > 0.5) & (theta_e < 1)].max() < 0.2


def test_equal_seeds_give_equal_bytes(hosts, injected):
    images, table = hosts
    before = images.copy()
    # A galaxy's lens doesn't depend on what comes after it.
    out, truth = inject(images[:20], table[:20], np.random.default_rng(1), *injected_as())
    assert out.tobytes() == injected[0][:20].tobytes()
    pd.testing.assert_frame_equal(truth, injected[1][:20])
    assert images.tobytes() == before.tobytes()
    other, _ = inject(images[:3], table[:3], np.random.default_rng(2), *injected_as())
    assert (other != out[:3]).any(axis=(1, 2, 3)).all()


def test_far_away_nothing_changes(hosts, injected):
    added, truth = injected[0] - hosts[0], injected[1]
    reach = 2.2 * truth["theta_e_arcsec"] + 4.5 * truth["source_r_half"]
    small = (reach < 6).to_numpy()
    assert small.sum() > 10
    assert (added[small, :, :5, :5] == 0).all()
    assert (added[small, :, -5:, -5:] == 0).all()
    assert (added[:, :, 40:61, 40:61] != 0).any(axis=(1, 2, 3)).all()


def test_missing_pixels_stay_missing():
    images, table = make_hosts(4)
    images[:, 0] = np.nan
    images[:, :, :10] = np.nan
    images[:, 1, 45:48, 45] = np.nan
    out, truth = inject(images, table, np.random.default_rng(1), *injected_as())
    assert (np.isnan(out) == np.isnan(images)).all()
    assert (truth["snr_band"] != "g").all()


def test_four_bands_and_another_size():
    images, table = make_hosts(3, "griz", 61)
    out, truth = inject(images, table, np.random.default_rng(1), *injected_as("griz"))
    assert out.shape == (3, 4, 61, 61)
    assert {"arc_mag_i", "source_mag_i"} <= set(truth)
    assert truth["source_mag_i"].between(truth["source_mag_z"] - 1, truth["source_mag_r"] + 1).all()


def test_dispersion_follows_luminosity_and_mass_follows_light():
    images, table = make_hosts(150, shape_e1=0.3, shape_e2=-0.2)
    _, normal = inject(images, table, np.random.default_rng(1), *injected_as(theta_e="drawn"))
    assert normal["mass_e1"].mean() == pytest.approx(0.75 * 0.3, abs=0.02)
    assert normal["mass_e2"].mean() == pytest.approx(0.75 * -0.2, abs=0.02)
    mag_r, mag_z = table["mag_r"].to_numpy()[:1], table["mag_z"].to_numpy()[:1]
    (z, sigma), (same, larger) = deflector_of(mag_r, mag_z), deflector_of(mag_r - 1, mag_z - 1)
    assert z == same
    assert larger / sigma == pytest.approx(10**0.1)
    # An old galaxy of the characteristic magnitude.
    assert velocity_dispersion(0.5, mag_star(0.5)) == pytest.approx(SIGMA_STAR)


def test_galaxies_of_unlikely_mass_get_lenses_too(caplog):
    images, table = make_hosts(3, mag_r=np.float32(25.5), mag_z=np.float32(24.4))
    with caplog.at_level("INFO", logger="lenspipe"):
        _, truth = inject(images, table, np.random.default_rng(1), *injected_as())
    assert (truth["theta_e_from"] == "raised").all()
    assert "3 of 3 on galaxies of raised velocity dispersion" in caplog.text
    assert (truth["sigma_v"] < 600).all()


def test_noise_is_that_of_the_depth_where_it_is_known():
    images, table = make_hosts(40)
    _, measured = inject(images, table, np.random.default_rng(1), *injected_as(), Selection())
    for band in "grz":
        noise = noise_from_depth(1.0, SEEING[band], SCALE) / (2 * NOISE[band])
        table[f"galdepth_{band}"] = noise**2
    _, deep = inject(images, table, np.random.default_rng(1), *injected_as(), Selection())
    bright = measured["arc_snr"] > 40
    ratio = deep["arc_snr"][bright] / measured["arc_snr"][bright]
    assert bright.sum() > 5
    # Half the pixels' noise, but for the photons.
    assert ratio.median() == pytest.approx(0.5, abs=0.1)


def test_arcs_are_centred_on_the_galaxy():
    ra, dec = brick_grid(0.25).centre("1501p320")
    wcs = brick_wcs(ra, dec, RELEASES["dr9"])
    pixels = np.array([[100.0, 200.0], [100.4, 200.0], [100.0, 199.6]])
    images, table = make_hosts(3)
    images[:] = np.random.default_rng(1).normal(0, 0.001, images.shape[1:])
    table["ra"], table["dec"] = wcs.all_pix2world(pixels, 0).T
    assert _offsets(table, RELEASES["dr9"]) == pytest.approx(
        np.array([[0, 0], [0.4, 0], [0, -0.4]]), abs=1e-6
    )
    lensed, _ = inject(images, table, [np.random.default_rng(5) for _ in range(3)], *injected_as())
    arcs = (lensed - images)[:, 0].clip(0)
    axis = np.arange(101)
    x, y = (arcs.sum(axis=1) @ axis, arcs.sum(axis=2) @ axis) / arcs.sum(axis=(1, 2))
    assert x - x[0] == pytest.approx([0, 0.4, 0], abs=0.1)
    assert y - y[0] == pytest.approx([0, 0, -0.4], abs=0.1)


def test_without_a_magnitude_a_typical_galaxy_is_assumed():
    images, table = make_hosts(2, mag_r=np.float32(np.nan))
    _, truth = inject(images, table, np.random.default_rng(1), *injected_as())
    assert truth["z_lens"].to_numpy() == pytest.approx(0.5)


def test_no_hosts():
    images, table = make_hosts(2)
    out, truth = inject(images[:0], table[:0], np.random.default_rng(1), *injected_as())
    assert len(out) == len(truth) == 0


# What can be wrong.


def test_impossible_requirements_are_reported():
    images, table = make_hosts(1)
    with pytest.raises(LenspipeError, match=r"widen config key injection.theta_e_range, now 0.05"):
        inject(images, table, np.random.default_rng(1), *injected_as(theta_e_range=(0.05, 0.1)))
    with pytest.raises(LenspipeError, match="theta_e_range"):
        make_settings(theta_e_range=(2.0, 1.0))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("injection", "min_arc_snr", 20), ("selection", "lenses", "planted"),
     ("selection", "source_mag_range", [21, 26])],
)  # fmt: skip
def test_old_keys_are_refused(section, key, value):
    with pytest.raises(LenspipeError, match=rf"{section}\.{key}"):
        load_settings({"run": "r", "simulation": {}, section: {key: value}})


def test_seeing_and_pixels_are_needed():
    images, table = make_hosts(1, psfsize_r=np.float32(np.nan))
    with pytest.raises(LenspipeError, match=r"galaxy 10000-1-0: found noise .* psfsize"):
        inject(images, table, np.random.default_rng(1), *injected_as())
    images, table = make_hosts(1)
    with pytest.raises(LenspipeError, match="expected both above 0"):
        inject(0 * images, table, np.random.default_rng(1), *injected_as())


def test_bands_without_redshifts_are_refused():
    images, table = make_hosts(1, "gr")
    with pytest.raises(LenspipeError, match=r"survey\.bands: found g, r, .* add z"):
        inject(images, table, np.random.default_rng(1), *injected_as("gr"))


def test_missing_lenstronomy_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "lenstronomy.LensModel.lens_model", None)
    lensing._models.cache_clear()
    images, table = make_hosts(1)
    with pytest.raises(LenspipeError, match=r"not installed.*pip install 'lenspipe\[demo\]'"):
        inject(images, table, np.random.default_rng(1), *injected_as())


# Distances, and the benchmark.


def test_comoving_distance():
    expected = FlatLambdaCDM(70, 0.3).comoving_distance([0.3, 1.1, 2.7]).value
    assert comoving_distance([0.3, 1.1, 2.7]) == pytest.approx(expected, rel=1e-4)


def test_benchmark_prints_one_flat_object(monkeypatch, capsys):
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "injection.py"
    options = ["--json", "--number", "5", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    monkeypatch.setattr(os, "environ", os.environ.copy())  # it sets the number of threads
    runpy.run_path(str(script), run_name="__main__")
    flat = json.loads(capsys.readouterr().out)
    assert flat["hosts"] == 5
    assert flat["per_s_core"] > 0
    assert all(isinstance(value, float) for value in flat.values())
