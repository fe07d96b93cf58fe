"""Tests of lenspipe.simulation: a tiny sky, and the distributions of the full one."""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

import astropy.units as u
import fitsio
import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.io import fits
from astropy.wcs import WCS

from lenspipe.config.data import Simulation
from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.simulation.conditions import BANDS, draw_conditions, exposure_map
from lenspipe.simulation.lensing import arc_image, einstein_radius_sis
from lenspipe.simulation.population import _bright_galaxies, draw_population
from lenspipe.simulation.rendering import render_brick
from lenspipe.simulation.sky import _maskbits, likely_published, simulate
from lenspipe.simulation.tractor import tractor_columns
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError

BRICK = "1501p320"
REGIONS = ("north", "south")
FWHM = {"g": 1.3, "r": 1.2, "z": 1.1}
FEW = {
    "galaxies_per_brick": 25,
    "faint_per_brick": 60,
    "stars_per_brick": 15,
    "lenses_per_brick": 10,
}


@pytest.fixture(scope="session")
def settings():
    return load_settings(
        {"run": "tiny", "seed": 3, "footprint": {"bricks": [BRICK]}, "simulation": FEW}
    )


@pytest.fixture(scope="session")
def sky(settings, tmp_path_factory):
    """A sky of one brick, south, with its copy in the north."""
    root = tmp_path_factory.mktemp("sky")
    simulate(settings, 2, root)
    return SkyPaths(root)


@pytest.fixture(scope="session")
def brick():
    table = brick_grid(0.25).table.rename(columns=str.upper).set_index("BRICKNAME", drop=False)
    return table.loc[BRICK]


@pytest.fixture(scope="session")
def truth(sky):
    return pd.read_parquet(sky.truth)


@pytest.fixture(scope="session")
def population():
    """Sources and components of one brick, full density."""
    return draw_population(1, _edges(1), Simulation())


@pytest.fixture(scope="session")
def statistics():
    """The script that sets the simulated sky beside the real one, as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "sky_statistics.py"
    spec = importlib.util.spec_from_file_location("sky_statistics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sources(statistics):
    """Sources of twelve bricks."""
    return statistics.draw(12, seed=2)


def _edges(brickid):
    return {"brickid": brickid, "ra1": 150.0, "ra2": 150.25, "dec1": 30.0, "dec2": 30.25}


def _digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


# The tree.


def test_the_tree_has_the_surveys_files(sky):
    expected = {"survey-bricks.fits.gz", "sky.json", "truth.parquet"}
    expected |= {"known-lenses.csv", "confusing.csv"}
    for region in REGIONS:
        expected |= {
            f"{region}/survey-bricks-dr9-{region}.fits.gz",
            f"parts/{region}-{BRICK}.parquet",
        }
        expected.add(f"{region}/tractor/150/tractor-{BRICK}.fits")
        coadd = f"{region}/coadd/150/{BRICK}/legacysurvey-{BRICK}"
        expected.add(f"{coadd}-maskbits.fits.fz")
        kinds = ("image", "invvar", "nexp", "psfsize")
        expected |= {f"{coadd}-{kind}-{band}.fits.fz" for kind in kinds for band in BANDS}
    assert set(_digests(sky.tree)) == expected


def test_all_bricks_are_the_surveys(sky, brick):
    table = fitsio.read(sky.all_bricks())
    assert len(table) == 662174
    (row,) = table[np.char.strip(table["BRICKNAME"].astype(str)) == BRICK]
    for name in ("BRICKID", "RA", "DEC", "RA1", "RA2", "DEC1", "DEC2"):
        assert row[name] == brick[name]


def test_one_region_is_primary(sky, brick):
    rows = {region: fitsio.read(sky.bricks(region)) for region in REGIONS}
    assert [bool(row["survey_primary"][0]) for row in rows.values()] == [False, True]
    for row in rows.values():
        assert row["brickname"][0].strip() == BRICK
        assert row["brickid"][0] == brick["BRICKID"]
        assert [row[name][0] for name in ("ra1", "ra2", "dec1", "dec2")] == [
            brick[name] for name in ("RA1", "RA2", "DEC1", "DEC2")
        ]


def test_images_are_compressed_as_the_surveys(sky):
    path = sky.coadd("south", BRICK, "image", "g")
    with fits.open(path, disable_image_compression=True) as hdus:
        table, header = hdus[1], hdus[1].header
        assert len(table.data) == 36 * 36
        assert {"COMPRESSED_DATA", "ZSCALE", "ZZERO"} <= set(table.columns.names)
        assert np.allclose(table.data["ZSCALE"], 1e-4)
        assert header["ZCMPTYPE"] in ("RICE_1", "RICE_ONE")
        assert header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"
        assert (header["ZTILE1"], header["ZTILE2"]) == (100, 100)
        assert (header["ZNAXIS1"], header["ZNAXIS2"]) == (3600, 3600)
        assert header["ZBITPIX"] == -32
        assert (header["CTYPE1"], header["CTYPE2"]) == ("RA---TAN", "DEC--TAN")
        assert (header["CRPIX1"], header["CRPIX2"]) == (1800.5, 1800.5)
        assert header["SIMULATD"]


@pytest.mark.parametrize("region", REGIONS)
def test_catalogue_has_every_column_in_its_type(sky, region):
    table = fitsio.read(sky.tractor(region, BRICK))
    expected, _ = tractor_columns()
    assert table.dtype.names == expected.names
    for name in expected.names:
        # fitsio makes str of characters.
        characters = expected[name].kind == "S"
        kind = f"U{expected[name].itemsize}" if characters else expected[name]
        assert table.dtype[name].newbyteorder("=") == kind, name
    assert len(expected.names) > 150


@pytest.mark.parametrize("region", REGIONS)
def test_truth_is_row_by_row_the_catalogue(sky, truth, region):
    table = fitsio.read(sky.tractor(region, BRICK))
    mine = truth[truth["region"] == region].sort_values("objid")
    ids = [f"{r}-{b}-{o}" for r, b, o in zip(*(table[n] for n in ("release", "brickid", "objid")))]  # noqa: B905
    assert list(mine["id"]) == ids
    assert np.array_equal(mine["ra"], table["ra"])
    assert np.array_equal(mine["dec"], table["dec"])
    assert list(mine["type"]) == list(np.char.strip(table["type"].astype(str)))
    assert truth["id"].is_unique


def test_only_the_surveyed_brick_is_primary(truth, brick):
    primary = truth[truth["primary"]]
    assert set(primary["region"]) == {"south"}
    body = primary[primary["kind"] != "companion"]
    assert body["ra"].between(brick["RA1"], brick["RA2"]).all()
    assert body["dec"].between(brick["DEC1"], brick["DEC2"]).all()


# Pixels.


def test_catalogue_positions_follow_the_wcs(sky):
    table = fitsio.read(sky.tractor("south", BRICK))
    wcs = WCS(fits.getheader(sky.coadd("south", BRICK, "image", "g"), 1))
    x, y = wcs.all_world2pix(table["ra"], table["dec"], 0)
    assert np.abs(x - table["bx"]).max() < 0.1
    assert np.abs(y - table["by"]).max() < 0.1


def test_stars_are_rendered_where_the_catalogue_says(sky, truth):
    table = fitsio.read(sky.tractor("south", BRICK))
    image = fitsio.read(sky.coadd("south", BRICK, "image", "r"))
    mine = truth[truth["region"] == "south"].sort_values("objid")
    measured = 0
    for i in np.flatnonzero((mine["kind"] == "star") & mine["flux_r"].between(6, 300)):
        x, y = table["bx"][i], table["by"][i]
        apart = np.hypot(table["bx"] - x, table["by"] - y)
        if np.sort(apart)[1] < 40 or not (30 < x < 3570 and 30 < y < 3570):
            continue
        left, bottom = round(x) - 20, round(y) - 20
        stamp = galsim.Image(image[bottom : bottom + 41, left : left + 41].astype(float))
        found = galsim.hsm.FindAdaptiveMom(stamp).moments_centroid
        assert abs(found.x - 1 + left - x) < 0.1
        assert abs(found.y - 1 + bottom - y) < 0.1
        measured += 1
    assert measured >= 2


@pytest.mark.parametrize("band", BANDS)
def test_noise_is_what_invvar_says(sky, band):
    image, invvar, exposures = (
        fitsio.read(sky.coadd("south", BRICK, kind, band)) for kind in ("image", "invvar", "nexp")
    )
    pull = (image * np.sqrt(invvar))[invvar > 0]
    # The median absolute deviation of a sky that is nearly empty.
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.05)
    assert abs(np.median(pull)) < 0.05
    assert exposures.min() >= 1
    assert exposures.max() <= 10
    assert len(np.unique(exposures)) > 1
    one = (invvar / exposures)[invvar > 0]
    assert np.allclose(one, np.median(one), rtol=0.01)


def test_exposure_pattern_agrees_between_neighbours():
    ra, dec = 150.0, 0.0
    here = exposure_map(1, "g", "south", ra, dec)
    # The same piece of sky seen 1800 pixels further up.
    above = exposure_map(1, "g", "south", ra, dec + 1800 * 0.262 / 3600)
    assert (here[1800:] == above[:1800]).mean() > 0.999
    assert (here != exposure_map(2, "g", "south", ra, dec)).any()


def test_bright_stars_are_masked(brick):
    row = {name.lower(): brick[name] for name in ("RA", "DEC", "RA1", "RA2", "DEC1", "DEC2")}
    stars = pd.DataFrame(
        {"kind": "star", "flux_r": 10 ** (0.4 * (22.5 - np.array([12.0, 15.0, 17.0])))}
    ).assign(bx=[1000.0, 2500.0, 600.0], by=[2000.0, 2500.0, 600.0])
    canvas = {band: np.zeros((3600, 3600), np.float32) for band in BANDS}
    canvas["z"][50, 60] = 1000.0
    mask = _maskbits(stars, row, canvas)

    def has(bit, y, x):
        return bool(mask[y, x] & (1 << RELEASES["dr9"].mask_bits[bit]))

    assert has("BRIGHT", 2000, 1000)
    assert has("BRIGHT", 2000, 1100)
    assert not has("BRIGHT", 2000, 1130)
    assert has("MEDIUM", 2500, 2500)
    assert not has("BRIGHT", 2500, 2500)
    assert mask[600, 600] == 0
    assert has("SATUR_Z", 50, 60)
    assert not has("SATUR_G", 50, 60)
    assert has("NPRIMARY", 10, 1800)
    assert not has("NPRIMARY", 1800, 1800)


def test_rendering_keeps_the_flux(population):
    _, components = population
    everything = components[components["profile"].isin(["psf", "sersic"])]
    # Steep profiles are cut at 8 half-light radii, which costs them a few per cent.
    chosen = {
        "flat": everything[everything["sersic"].between(0.5, 1.5) & (everything["r_half"] < 2)],
        "steep": everything[(everything["sersic"] > 3.5) & (everything["r_half"] < 2)],
    }
    for name, tolerance in (("flat", 0.02), ("steep", 0.10)):
        rows = chosen[name].sort_values("flux_r").iloc[::-1].iloc[:20]
        x, y = (grid.ravel()[: len(rows)] for grid in np.mgrid[400:3300:8j, 400:3300:8j])
        canvas, _ = render_brick(rows, {}, x + 0.3, y - 0.2, FWHM)
        for band in BANDS:
            total = canvas[band].sum(dtype=float)
            assert total == pytest.approx(rows[f"flux_{band}"].sum(), rel=tolerance)
            assert canvas[band].min() > -1e-3


def test_arcs_and_textures_keep_the_flux(population):
    sources, components = population
    lenses = sources[sources["kind"] == "lens"].set_index("number").to_dict("index")
    textures = components[components["profile"].isin(["arc", "spiral", "ring"])]
    rows = textures.groupby("profile").head(5)
    assert set(rows["profile"]) == {"arc", "spiral", "ring"}
    x, y = (grid.ravel()[: len(rows)] for grid in np.mgrid[400:3300:8j, 400:3300:8j])
    canvas, arcs = render_brick(rows, lenses, x + 0.3, y - 0.2, FWHM)
    assert set(arcs) == set(rows.loc[rows["profile"] == "arc", "number"])
    for i, band in enumerate(BANDS):
        assert canvas[band].sum(dtype=float) == pytest.approx(rows[f"flux_{band}"].sum(), rel=0.02)
        for number, stamps in arcs.items():
            expected = rows.set_index("number").loc[number, f"flux_{band}"]
            assert stamps[i][0].sum(dtype=float) == pytest.approx(expected, rel=0.02)


# Lenses.


def test_einstein_radius_is_the_closed_form():
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    lens, source = np.array([0.2, 0.5, 0.8]), np.array([1.0, 2.0, 2.5])
    near, far = (cosmology.comoving_distance(redshift) for redshift in (lens, source))
    ratio = (far - near) / far
    radians = 4 * np.pi * (250 / 299792.458) ** 2 * ratio.value
    expected = (radians * u.rad).to_value(u.arcsec)
    assert einstein_radius_sis(250.0, lens, source) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("beta", [0.1, 0.25])
def test_images_of_a_small_source_lie_at_theta_e_plus_and_minus_beta(beta):
    theta_e, scale, pixels = 1.5, 0.02, 301
    lens = {"theta_e_arcsec": theta_e, "mass_e1": 0.002, "mass_e2": 0.0, "shear_1": 0.0}
    lens |= {"shear_2": 0.0, "source_r_half": 0.03, "beta_1": beta, "beta_2": 0.0}
    clumps = [np.random.default_rng(seed) for seed in range(50)]
    for rng in clumps:
        rng.normal(0, 0.15, 2)
        rng.uniform(0.8, 1.6)
    smooth = next(i for i, rng in enumerate(clumps) if rng.integers(0, 6) == 0)
    image = arc_image(lens | {"clump_seed": smooth}, scale, pixels)
    assert image.sum() == pytest.approx(1)
    middle = pixels // 2
    for side, expected in ((1, theta_e * (1 + beta)), (-1, theta_e * (1 - beta))):
        half = image.copy()
        half[:, : middle + 1 if side > 0 else 0] = 0
        half[:, pixels if side > 0 else middle :] = 0
        row, column = np.unravel_index(half.argmax(), half.shape)
        found = np.array([column - middle, row - middle]) * scale
        assert side * found[0] == pytest.approx(expected, rel=0.03)
        assert abs(found[1]) < 0.06


def test_lenses_are_of_sizes_that_searches_find(truth, sources):
    lenses = sources[sources["kind"] == "lens"]
    assert lenses["theta_e_arcsec"].between(0.7, 4.0).all()
    assert lenses["theta_e_arcsec"].between(1, 3).mean() > 0.8
    assert (lenses["z_source"] > lenses["redshift"]).all()
    known = truth["kind"] == "lens"
    assert known.sum() > 5
    assert (truth["theta_e_arcsec"].notna() == known).all()
    assert (truth["arc_snr"].notna() == known).all()
    assert truth.loc[known, "theta_e_arcsec"].between(0.7, 4.0).all()
    assert likely_published(truth[known]).mean() > 0.5


def test_published_lists_are_of_the_primary_sky(sky, truth):
    lenses = truth[(truth["kind"] == "lens") & truth["primary"]]
    known = pd.read_csv(sky.known_lenses)
    assert list(known.columns) == ["name", "ra", "dec", "grade"]
    assert 0 < len(known) <= len(lenses)
    assert set(known["grade"]) <= set("ABC")
    for row in known.itertuples():
        east = (lenses["ra"] - row.ra) * np.cos(np.radians(row.dec))
        assert np.hypot(east, lenses["dec"] - row.dec).min() * 3600 < 1
    confusing = pd.read_csv(sky.confusing)
    assert list(confusing.columns) == ["ra", "dec", "kind"]
    assert "lens" not in set(confusing["kind"])


# The same again.


def test_same_seed_same_bytes_other_seed_others(sky, settings, tmp_path):
    # The north is made again in the next test.
    shutil.copytree(sky.tree / "north", tmp_path / "north", copy_function=os.link)
    SkyPaths(tmp_path).part("north", BRICK).parent.mkdir()
    os.link(sky.part("north", BRICK), SkyPaths(tmp_path).part("north", BRICK))
    simulate(settings, 1, tmp_path)
    assert _digests(tmp_path) == _digests(sky.tree)
    few, edges = settings.simulation, _edges(1)
    first, again, other = (draw_population(seed, edges, few)[0] for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first["ra"].isin(other["ra"]).any()
    assert draw_conditions(3, 1, "south") != draw_conditions(4, 1, "south")
    assert draw_conditions(3, 1, "south") != draw_conditions(3, 1, "north")


def test_a_killed_simulation_goes_on(sky, settings, tmp_path):
    before = _digests(sky.tree)
    copy = SkyPaths(tmp_path / "sky")
    shutil.copytree(sky.tree, copy.tree, copy_function=os.link)
    broken = copy.tractor("north", BRICK)
    for path in (copy.part("north", BRICK), copy.coadd("north", BRICK, "image", "r"), broken):
        path.unlink()
    copy.manifest.unlink()
    broken.write_bytes(b"half a file")
    kept = copy.tractor("south", BRICK)
    written = kept.stat().st_ino
    simulate(settings, 1, copy.tree)
    assert _digests(copy.tree) == before
    assert kept.stat().st_ino == written


def test_a_brick_without_bright_galaxies_has_its_other_sources():
    rng = np.random.default_rng(1)
    none = _bright_galaxies(rng, 0)
    assert none.empty
    assert none.dtypes.equals(_bright_galaxies(np.random.default_rng(1), 9).dtypes)
    # Nothing was drawn.
    assert rng.random() == np.random.default_rng(1).random()
    # A third of the bricks have none where the mean is 1.
    few = Simulation(galaxies_per_brick=1, **{n: FEW[n] for n in FEW if n != "galaxies_per_brick"})
    for brickid in range(1, 20):
        sources, components = draw_population(1, _edges(brickid), few)
        if set(sources["kind"]) == {"lens", "star", "faint"}:
            break
    assert sources["kind"].value_counts()["lens"] > 3
    assert set(components["number"]) == set(sources["number"])
    assert np.isfinite(sources[["flux_r", "redshift", "r_half"]].to_numpy()).all()


def test_a_sky_needs_its_section(tmp_path):
    config = {"run": "real", "survey": {"tree": "dr9"}, "sample": {"known_lenses": "known.csv"}}
    with pytest.raises(LenspipeError, match="config key simulation: missing"):
        simulate(load_settings(config), 1, tmp_path)


# What is on it.


def test_colours_and_magnitude_do_not_give_lenses_away(statistics, sources):
    assert statistics.photometric_auc(sources) <= 0.75


#: How far a percentile may be from the real sky's: magnitudes, colours, log10 of arcsec, redshift.
TOLERANCES = {"z": 0.45, "r": 0.4, "g-r": 0.25, "r-z": 0.25, "log r_half": 0.08, "redshift": 0.1}


@pytest.mark.parametrize("group", ["luminous red SER", "luminous red DEV"])
def test_ellipticals_are_like_the_real_skys(statistics, sources, group):
    rows = [row for row in statistics.compare(sources) if row[0] == group]
    assert [row[1] for row in rows] == ["z", "g-r", "r-z", "log r_half"]
    for _, name, percentiles, ours, real in rows:
        assert ours == pytest.approx(real, abs=TOLERANCES[name]), (name, percentiles)


@pytest.mark.parametrize(
    ("group", "names"),
    [("lenses", ("g-r", "r-z", "redshift")), ("confusing", ("r", "z", "redshift"))],
)
def test_medians_of_lenses_and_what_confuses_are_like_the_real_skys(
    statistics, sources, group, names
):
    # Not the magnitudes of lenses: their hosts are fainter than real ones (docs/simulated-sky.md).
    rows = {name: row for g, name, *row in statistics.compare(sources) if g == group}
    for name in names:
        _, ours, real = rows[name]
        assert ours[1] == pytest.approx(real[1], abs=TOLERANCES[name]), name


def test_statistics_are_one_flat_object(statistics, sources, tmp_path):
    flat = statistics.flat(statistics.compare(sources), statistics.numbers(sources, 12))
    assert all(value is None or isinstance(value, (int, float)) for value in flat.values())
    assert flat["lenses g p50 (real)"] == 21.10
    statistics.save_figure(sources, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size < 200_000
