"""Tests of the simulated sky's populations, their painting, and its PSFs."""

import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.cosmology import FlatLambdaCDM
from scipy import fft

from lenspipe.config.data import Simulation
from lenspipe.simulation.catalogue import _move
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import (
    FIELD_DENSITY,
    FIELD_MAG_R,
    RED_GR,
    RED_RZ,
    REDSHIFT,
    STAR_DENSITY,
    Scene,
    component,
    draw_red_galaxy,
    field_galaxies,
    stars,
)
from lenspipe.simulation.groups import FAINTEST_MEMBER, RADII_ARCSEC, draw_group, draw_system
from lenspipe.simulation.kinds import CONFUSING, NON_LENSES, draw_non_lens
from lenspipe.simulation.lenses import (
    FAINTEST_IMAGES,
    THETA_E_RANGE,
    draw_lenses,
    sphere_magnification,
)
from lenspipe.simulation.painting import Light
from lenspipe.simulation.population import _place, draw_population
from lenspipe.simulation.psf import MOFFAT_BETA, Psf
from lenspipe.simulation.sources import SIZE_SCATTER, draw_sizes
from lenspipe.simulation.stamps import draw_lens_stamp
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC

EDGES = {"brickid": 1, "ra1": 150.0, "ra2": 150.29, "dec1": 30.0, "dec2": 30.25}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def mags(table):
    """Magnitudes in g, r, z, shape (3, N), of components or sources."""
    return np.array([22.5 - 2.5 * np.log10(table[f"flux_{band}"]) for band in BANDS])


@pytest.fixture(scope="module")
def population():
    """Sources, components and lenses of a brick with the default numbers."""
    return draw_population(1, EDGES, Simulation())


# Galaxies.


@pytest.mark.parametrize("kind", ["massive", "ordinary", "deflector", "nearby"])
def test_old_galaxies_lie_on_the_red_sequence(kind):
    rng = np.random.default_rng(1)
    galaxies = pd.DataFrame([vars(draw_red_galaxy(rng, kind)) for _ in range(600)])
    for colour, relation, scatter in (("g_r", RED_GR, 0.10), ("r_z", RED_RZ, 0.07)):
        offset = galaxies[colour] - np.interp(galaxies["redshift"], REDSHIFT, relation)
        assert abs(offset.mean()) < 0.03
        assert offset.std() == pytest.approx(scatter, rel=0.15)
    # Brighter ones are larger, by a factor of 2 in 2.3 magnitudes.
    slope = np.polyfit(galaxies["mag_r"], np.log10(galaxies["r_half"]), 1)[0]
    assert slope == pytest.approx(-0.13, abs=0.03)
    assert galaxies["sersic"].between(2, 6).all()


def test_members_of_a_group_are_old_galaxies_of_its_redshift():
    rng = np.random.default_rng(2)
    brightest = draw_red_galaxy(rng, "massive")
    groups = [draw_group(rng, brightest, 4.0) for _ in range(200)]
    members = pd.DataFrame([member.light for group in groups for member in group.members])
    magnitudes = mags(members)
    assert (magnitudes[1] > brightest.mag_r).all()
    assert (magnitudes[1] < FAINTEST_MEMBER).all()
    assert np.median(magnitudes[0] - magnitudes[1]) == pytest.approx(brightest.g_r, abs=0.06)
    assert (magnitudes[0] - magnitudes[1]).std() < 0.1
    distance = np.hypot(members["dx"], members["dy"])
    assert distance.between(*RADII_ARCSEC).all()
    # Uniform in radius: more concentrated than uniform on the sky.
    assert distance.median() == pytest.approx(np.mean(RADII_ARCSEC), rel=0.1)


def test_groups_have_members_by_their_richness():
    rng = np.random.default_rng(3)
    systems = [draw_system(rng, "massive") for _ in range(1000)]
    groups = [group for _, group in systems if group]
    assert len(groups) / 1000 == pytest.approx(0.45, abs=0.05)
    number = pd.Series([len(group.members) for group in groups])
    richness = np.array([group.richness for group in groups])
    means = number.groupby(richness).mean()
    assert means.index.tolist() == [1.5, 4.0, 8.0]
    assert means.is_monotonic_increasing
    # Members below the limit in magnitude are not drawn.
    assert (means > 0.6 * (1 + means.index)).all()
    assert (means < 1 + means.index).all()


@pytest.mark.parametrize("kind", list(NON_LENSES))
def test_kinds_of_galaxies(kind):
    rng = np.random.default_rng(4)
    scenes = [draw_non_lens(rng, kind) for _ in range(60)]
    for scene in scenes:
        assert scene.sources[0] == kind
        assert set(scene.sources[1:]) <= {"member", "companion"}
        numbers = [part["source"] for part in scene.components]
        assert sorted(set(numbers)) == list(range(len(scene.sources)))
        for part in scene.components:
            assert all(part[f"flux_{band}"] > 0 for band in BANDS)
            assert np.hypot(part["e1"], part["e2"]) < 0.9
            assert (part["profile"] == "psf") == (part["r_half"] == 0)
    others = [sum(name == "companion" for name in scene.sources) for scene in scenes]
    if kind in ("blue_neighbour", "merger", "star_blend"):
        assert min(others) >= 1
    else:
        assert max(others) == 0
    assert 0 < np.mean(["member" in scene.sources for scene in scenes]) < 0.8
    assert (kind in CONFUSING) == (kind not in ("elliptical", "nearby_elliptical"))


def test_field_galaxies_have_counts_and_colours():
    field = field_galaxies(np.random.default_rng(5), 20_000)
    g, r, _ = mags(field)
    assert r.min() >= FIELD_MAG_R[0]
    assert r.max() <= FIELD_MAG_R[1]
    # Counts rise by 10^(0.34 m).
    bins, _ = np.histogram(r, np.arange(21.2, 24.3, 0.5))
    slope = np.polyfit(np.arange(len(bins)) * 0.5, np.log10(bins), 1)[0]
    assert slope == pytest.approx(0.34, abs=0.03)
    assert 0.2 < (g - r > 1).mean() < 0.4


def test_stars_are_points_with_counts_that_rise():
    table = stars(np.random.default_rng(6), 20_000)
    assert (table["profile"] == "psf").all()
    assert (table["r_half"] == 0).all()
    _, r, _ = mags(table)
    bins, _ = np.histogram(r, np.arange(15, 22.1))
    slope = np.polyfit(np.arange(len(bins)), np.log10(bins), 1)[0]
    assert slope == pytest.approx(0.22, abs=0.03)


def test_numbers_of_a_brick_are_those_of_the_settings(population):
    sources, components, lenses = population
    simulation = Simulation()
    kinds = sources["kind"].value_counts()
    for kind, mean in (
        ("star", simulation.stars_per_brick),
        ("faint", simulation.faint_per_brick),
        ("lens", simulation.lenses_per_brick),
    ):
        assert abs(kinds[kind] - mean) < 5 * np.sqrt(mean)
    assert kinds["lens"] == len(lenses)
    galaxies = kinds.reindex(list(NON_LENSES)).fillna(0)
    assert abs(galaxies.sum() - simulation.galaxies_per_brick) < 5 * np.sqrt(300)
    expected = galaxies.sum() * pd.Series(NON_LENSES)
    assert ((galaxies - expected).abs() < 5 * np.sqrt(expected) + 1).all()
    assert sources["number"].is_unique
    assert set(components["number"]) == set(sources["number"])
    # The default densities of the field are those of the real sky.
    area = 3600 * 0.25 * 0.29 * np.cos(np.radians(30.1))
    assert simulation.faint_per_brick == pytest.approx(FIELD_DENSITY * area, rel=0.2)
    assert simulation.stars_per_brick == pytest.approx(STAR_DENSITY * area, rel=0.2)


@pytest.mark.parametrize("dec", [0.0, 60.0, -75.0])
def test_companions_are_at_their_distance_at_every_declination(dec):
    scene = Scene("ring", 0.4)
    for at in ((0.0, 0.0), (8.0, 6.0)):
        scene.add("ring", component(np.ones(3), 0.5, at=at))
    sources = []
    _place(scene, 150.0, dec, sources, [])
    first, second = (SkyCoord(row["ra"], row["dec"], unit="deg") for row in sources)
    assert first.separation(second).arcsec == pytest.approx(10.0, rel=1e-4)
    # x to the West, y to the North.
    angle = 360 - np.degrees(np.arctan2(8, 6))
    assert first.position_angle(second).deg == pytest.approx(angle, abs=0.05)
    table = pd.DataFrame({"ra": [150.0], "dec": [dec], "bx": [0.0], "by": [0.0]})
    _move(table, 8.0, 6.0)
    moved = SkyCoord(table["ra"], table["dec"], unit="deg")[0]
    assert first.separation(moved).arcsec == pytest.approx(10.0, rel=1e-4)


def test_sizes_of_sources_are_those_of_their_luminosity():
    """Collett (2015, ApJ 811, 20, sect. 2.2), with the distances of astropy."""
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    for z, mag_z in ((0.6, 23.0), (1.0, 23.7), (2.0, 23.7)):
        sizes = draw_sizes(np.random.default_rng(1), np.full(20_000, z), np.full(20_000, mag_z))
        mag_v = mag_z - cosmology.distmod(z).value + 2.5 * np.log10(1 + z)
        kpc = 10 ** (-(mag_v + 18) / 4) * ((1 + z) / 1.6) ** -1.2
        arcsec = kpc * cosmology.arcsec_per_kpc_proper(z).value
        assert np.median(sizes) == pytest.approx(arcsec, rel=0.01)
        assert np.log10(sizes).std() == pytest.approx(SIZE_SCATTER, rel=0.15)


def test_sources_are_the_sum_of_their_components(population):
    sources, components, _ = population
    for band in BANDS:
        total = components.groupby("number")[f"flux_{band}"].sum()
        expected = sources.set_index("number")[f"flux_{band}"]
        assert np.allclose(total.reindex(expected.index), expected)
    inside = sources["ra"].between(EDGES["ra1"], EDGES["ra2"]) & sources["dec"].between(
        EDGES["dec1"], EDGES["dec2"]
    )
    assert inside[~sources["kind"].isin(["member", "companion"])].all()


# Lenses.


@pytest.fixture(scope="module")
def lenses():
    """Lenses, and the rows of the stamps of those that are visible."""
    rng = np.random.default_rng(7)
    drawn = draw_lenses(rng, 600)
    stamps = [draw_lens_stamp(rng, lens, 91) for lens in drawn]
    return drawn, pd.DataFrame([stamp[1] for stamp in stamps if stamp])


def test_visible_lenses_are_like_the_published_ones(lenses):
    """Quantiles of a published search of this survey, graded A to C."""
    _, visible = lenses
    assert len(visible) > 100
    radii = visible["theta_e_arcsec"].quantile(QUANTILES).to_numpy()
    assert visible["mag_r"].quantile(QUANTILES).to_numpy() == pytest.approx(
        [18.0, 19.2, 20.0, 20.8, 21.6], abs=0.45
    )
    assert radii == pytest.approx([1.05, 1.5, 2.05, 3.2, 5.5], rel=0.25)
    assert visible["arc_mag_g"].quantile(0.5) == pytest.approx(21.3, abs=0.3)
    # As much as half of the brightest in groups, which have the largest radii.
    in_group = visible["members"] > 0
    assert 0.35 < in_group.mean() < 0.65
    medians = visible["theta_e_arcsec"].groupby(in_group).median()
    assert medians[True] > 1.3 * medians[False]


def test_lenses_have_a_source_behind_them(lenses):
    drawn, _ = lenses
    model = pd.DataFrame([lens.model for lens in drawn])
    assert model["theta_e_arcsec"].between(*THETA_E_RANGE).all()
    assert (model["z_source"] > model["z_lens"]).all()
    beta = np.hypot(model["beta_1"], model["beta_2"])
    assert (beta < 1).all()
    # Anywhere within the Einstein radius; close to the axis more often, as images are brighter.
    assert 0.2 < np.median(beta) < 1 / np.sqrt(2)
    for lens in drawn:
        assert lens.scene.sources[0] == "lens"
        assert set(lens.scene.sources[1:]) <= {"member"}
        assert (lens.fluxes > 0).all()
    # Most sources are blue.
    g_r = -2.5 * np.log10([lens.fluxes[0] / lens.fluxes[1] for lens in drawn])
    assert 0.0 < np.median(g_r) < 0.6


def test_no_lens_is_drawn_whose_images_are_too_faint_to_be_seen(lenses):
    drawn, _ = lenses
    model = pd.DataFrame([lens.model for lens in drawn])
    beta = np.hypot(model["beta_1"], model["beta_2"])
    flux = np.array([lens.fluxes[0] for lens in drawn])
    flux *= sphere_magnification(model["theta_e_arcsec"], beta, model["source_r_half"])
    assert FAINTEST_IMAGES <= flux.min() < 1.2 * FAINTEST_IMAGES


def test_the_same_generator_draws_the_same_lenses():
    first, again = (draw_lenses(np.random.default_rng(8), 5) for _ in range(2))
    assert [lens.model for lens in first] == [lens.model for lens in again]
    assert draw_lenses(np.random.default_rng(9), 5)[0].model != first[0].model


# Painting.

SIDE = 121


def moffat(fwhm):
    return galsim.Moffat(beta=MOFFAT_BETA, fwhm=fwhm)


def painted(parts, psf):
    light = Light(SIDE, 1)
    light.add(parts, ("r",))
    return light.observe([psf])[0]


@pytest.mark.parametrize(
    ("index", "r_half", "tolerance"),
    # Light that is cut off far outside is painted within: it is most for large, steep profiles.
    [(1.0, 0.5, 0.015), (1.0, 1.6, 0.015), (4.0, 0.6, 0.015), (4.0, 1.5, 0.03)],
)
@pytest.mark.parametrize("shape", [(0.0, 0.0), (0.3, 0.0), (-0.15, 0.3)])
def test_galaxies_are_those_of_galsim(index, r_half, tolerance, shape):
    e1, e2 = shape
    # Of r = 18.
    part = component(np.full(3, 60.0), r_half, index, shape) | {"x": 60.3, "y": 59.6}
    image = painted([part], Psf.round(1.2)) / 60
    # Tractor's ellipticities count from North to East; on the image both change sign.
    galaxy = galsim.Sersic(index, half_light_radius=r_half).shear(g1=-e1, g2=-e2)
    observed = galsim.Convolve(galaxy, moffat(1.2)).shift(0.3 * 0.262, -0.4 * 0.262)
    expected = observed.drawImage(
        nx=SIDE, ny=SIDE, scale=PIXEL_SCALE_ARCSEC, method="no_pixel", dtype=float
    ).array
    assert np.abs(image - expected).max() < tolerance * expected.max()
    assert image.sum() == pytest.approx(expected.sum(), rel=0.04)


@pytest.mark.parametrize("place", [(60.0, 60.0), (60.25, 59.6), (40.5, 77.1)])
def test_stars_are_those_of_galsim(place):
    image = painted([component(np.ones(3)) | {"x": place[0], "y": place[1]}], Psf.round(1.1))
    shift = (np.array(place) - SIDE // 2) * PIXEL_SCALE_ARCSEC
    expected = (
        moffat(1.1)
        .shift(*shift)
        .drawImage(nx=SIDE, ny=SIDE, scale=PIXEL_SCALE_ARCSEC, method="no_pixel", dtype=float)
        .array
    )
    # A point is spread over four pixels of half the size.
    assert np.abs(image - expected).max() < 0.05 * expected.max()
    assert image.sum() == pytest.approx(1, rel=0.02)
    y, x = np.indices(image.shape)
    assert (image * x).sum() / image.sum() == pytest.approx(place[0], abs=0.05)
    assert (image * y).sum() / image.sum() == pytest.approx(place[1], abs=0.05)


@pytest.mark.parametrize("kind", ["spiral", "ring", "merger"])
def test_textures_keep_the_flux(kind):
    rng = np.random.default_rng(10)
    for _ in range(5):
        scene = draw_non_lens(rng, kind)
        # At least one: a merger may have no tail.
        parts = [part for part in scene.components if part["texture"] or part["source"] == 0]
        light = Light(401, len(BANDS))
        light.add([part | {"x": 200.0, "y": 200.0} for part in parts], BANDS)
        image = light.observe([Psf.round(fwhm) for fwhm in (1.3, 1.2, 1.1)])
        for band, total in zip(BANDS, image.sum(axis=(1, 2), dtype=float), strict=True):
            assert total == pytest.approx(sum(part[f"flux_{band}"] for part in parts), rel=0.04)
        assert image.min() > -1e-3 * image.max()


def test_a_part_of_a_patch_is_seen_as_the_whole():
    rng = np.random.default_rng(11)
    light = Light(200, 1)
    parts = [component(np.full(3, 5.0), 0.8, 2.0) | {"x": x, "y": y}
             for x, y in rng.uniform(20, 180, (12, 2))]  # fmt: skip
    light.add(parts, ("r",))
    psf = Psf.round(1.2)
    whole = light.observe([psf])[0]
    part = light.observe([psf], 40, 60, 120)[0]
    inner = slice(30, 90)
    difference = part[inner, inner] - whole[90:150, 70:130]
    assert np.abs(difference).max() < 2e-3 * whole.max()


# PSFs.

SUM = Psf(np.array([0.5, 0.3, 0.2]), np.array([1.0, 1.3, 1.7]), np.array([0.05, -0.03, 0.0]),
          np.array([0.0, 0.06, -0.02]))  # fmt: skip


@pytest.mark.parametrize("psf", [Psf.round(1.2), SUM])
def test_transform_of_a_psf_is_that_of_its_profile(psf):
    step, side = 0.1, 512
    axis = (np.arange(side) - side // 2) * step
    profile = psf.profile(axis[None, :], axis[:, None]) * step**2
    assert profile.sum() == pytest.approx(1, abs=2e-3)
    k = 2 * np.pi * fft.fftfreq(side, step)
    expected = fft.fft2(fft.ifftshift(profile)).real
    low = np.hypot(k[None, :], k[:, None]) < 8
    transform = psf.transform(k[None, :].astype("f4"), k[:, None].astype("f4"))
    assert transform[0, 0] == pytest.approx(1)
    assert transform[low] == pytest.approx(expected[low], abs=3e-3)


def test_psfsize_is_the_width_of_the_sum():
    assert Psf.round(1.3).fwhm_arcsec == pytest.approx(1.3)
    same = Psf(np.array([0.4, 0.6]), np.full(2, 1.1), np.zeros(2), np.zeros(2))
    assert same.fwhm_arcsec == pytest.approx(1.1)
    assert SUM.fwhm.min() < SUM.fwhm_arcsec < SUM.fwhm @ SUM.weights
    # Where the profile, averaged over the azimuth, has half its peak.
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = SUM.fwhm_arcsec / 2
    ring = SUM.profile(radius * np.cos(angle), radius * np.sin(angle)).mean()
    assert ring == pytest.approx(float(SUM.profile(np.zeros(1), np.zeros(1))[0]) / 2, rel=0.02)
