"""Tests of lenspipe.simulation.sky: a tiny sky."""

import hashlib
import os
import runpy
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
from lenspipe.simulation.brick import Arcs
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.lenses import THETA_E_RANGE
from lenspipe.simulation.lensing import _source, einstein_radius_sis, lensed_light
from lenspipe.simulation.population import draw_population
from lenspipe.simulation.sky import _maskbits, simulate
from lenspipe.simulation.tractor import tractor_columns
from lenspipe.simulation.truth import grade_of
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError

BRICK = "1501p320"
REGIONS = ("north", "south")
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
    assert primary["ra"].between(brick["RA1"], brick["RA2"]).all()
    assert primary["dec"].between(brick["DEC1"], brick["DEC2"]).all()
    assert (~truth.loc[truth["region"] == "south", "primary"]).any()


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


def test_bright_stars_are_masked(brick):
    row = {name.lower(): brick[name] for name in ("RA", "DEC", "RA1", "RA2", "DEC1", "DEC2")}
    stars = pd.DataFrame(
        {"kind": "star", "flux_r": 10 ** (0.4 * (22.5 - np.array([12.0, 15.0, 17.0])))}
    ).assign(bx=[1000.0, 2500.0, 600.0], by=[2000.0, 2500.0, 600.0])
    saturated = {band: np.zeros((3600, 3600), bool) for band in BANDS}
    saturated["z"][50, 60] = True
    mask = _maskbits(stars, row, saturated)

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
    theta_e, scale, half = 1.5, 0.02, 150
    lens = {"theta_e_arcsec": theta_e, "mass_e1": 0.002, "mass_e2": 0.0, "shear_1": 0.0}
    lens |= {"shear_2": 0.0, "source_r_half": 0.03, "beta_1": beta, "beta_2": 0.0}
    lens["clump_seed"] = next(
        seed for seed in range(50) if len(_source(lens | {"clump_seed": seed}, np.zeros(2))) == 1
    )
    axis = np.arange(-half, half + 1) * scale
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    light, flux = lensed_light(lens, x, y)
    for side, expected in ((1, theta_e * (1 + beta)), (-1, theta_e * (1 - beta))):
        brightest = np.where(side * x > 0, light, 0).argmax()
        assert side * x[brightest] == pytest.approx(expected, rel=0.03)
        assert abs(y[brightest]) < 0.06
    # The magnification of an isothermal sphere is 2 / beta in units of its Einstein radius.
    assert light.sum() * scale**2 / flux == pytest.approx(2 / beta, rel=0.05)


def test_arcs_are_where_the_truth_says(sky, truth):
    """Light in g within 0.7 arcsec of what is listed as arcs, and at the distance of the images."""
    image = fitsio.read(sky.coadd("south", BRICK, "image", "g"))
    invvar = fitsio.read(sky.coadd("south", BRICK, "invvar", "g"))
    table = fitsio.read(sky.tractor("south", BRICK))
    mine = truth[truth["region"] == "south"].sort_values("objid").reset_index(drop=True)
    lenses, arcs = mine[mine["kind"] == "lens"], mine[mine["kind"] == "arc"]
    assert lenses["visible"].any()
    assert len(arcs) > 3
    snr = []
    for arc in arcs.itertuples():
        apart = 3600 * np.hypot(
            (lenses["ra"] - arc.ra) * np.cos(np.radians(arc.dec)), lenses["dec"] - arc.dec
        )
        lens = lenses.loc[apart.idxmin()]
        # Shear and the mass of the group move images by some tenths of the Einstein radius.
        outermost = 1.7 * lens["theta_e_arcsec"] * (1 + lens["beta"]) + 1
        assert 1 < apart.min() < outermost
        assert arc.redshift == lens["z_source"]
        x, y = round(table["bx"][arc.Index]), round(table["by"][arc.Index])
        near = slice(y - 2, y + 3), slice(x - 2, x + 3)
        snr.append(image[near].sum() / np.sqrt((1 / invvar[near]).sum()))
    assert np.median(snr) > 4
    assert min(snr) > 1


def test_lenses_of_the_truth(truth):
    lens = truth["kind"] == "lens"
    assert lens.sum() > 5
    lenses = truth[lens]
    assert lenses["theta_e_arcsec"].between(*THETA_E_RANGE).all()
    assert (lenses["z_source"] > lenses["z_lens"]).all()
    assert (lenses["magnification"] > 1).all()
    for name in ("theta_e_arcsec", "arc_snr", "arc_mag_g", "beta", "magnification"):
        assert (truth[name].notna() == lens).all(), name
    visible = lenses["visible"]
    assert not truth.loc[~lens, "visible"].any()
    assert visible.any()
    assert set(lenses.loc[visible, "grade"]) <= set("ABC")
    assert (truth.loc[~truth["visible"], "grade"] == "").all()
    assert (lenses.loc[visible, "arc_snr"] > 14).all()


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


def test_a_killed_simulation_goes_on_with_the_same_bytes(sky, settings, tmp_path):
    """What is left is kept; what is made again by another number of processes is the same."""
    before = _digests(sky.tree)
    copy = SkyPaths(tmp_path / "sky")
    shutil.copytree(sky.tree, copy.tree, copy_function=os.link)
    kinds = ("image", "invvar", "nexp", "psfsize")
    coadds = [copy.coadd("north", BRICK, kind, band) for kind in kinds for band in BANDS]
    broken = copy.tractor("north", BRICK)
    for path in (copy.part("north", BRICK), *coadds, broken, copy.manifest, copy.truth):
        path.unlink()
    broken.write_bytes(b"half a file")
    kept = copy.tractor("south", BRICK)
    written = kept.stat().st_ino
    simulate(settings, 1, copy.tree)
    assert _digests(copy.tree) == before
    assert kept.stat().st_ino == written


def test_another_seed_has_other_sources(settings):
    few, edges = settings.simulation, _edges(1)
    first, again, other = (draw_population(seed, edges, few)[0] for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first["ra"].isin(other["ra"]).any()


def test_a_brick_without_galaxies_has_its_other_sources():
    few = FEW | {"galaxies_per_brick": 1}
    # A third of the bricks have none where the mean is 1.
    for brickid in range(1, 20):
        sources, components, lenses = draw_population(1, _edges(brickid), Simulation(**few))
        if set(sources["kind"]) <= {"lens", "member", "star", "faint"}:
            break
    assert sources["kind"].value_counts()["lens"] == len(lenses) > 3
    assert set(components["number"]) == set(sources["number"])
    assert np.isfinite(sources[["flux_r", "redshift", "r_half"]].to_numpy()).all()
    none = Simulation(**dict.fromkeys(FEW, 0) | {"galaxies_per_brick": 1})
    sources, _, lenses = draw_population(1, _edges(brickid), none)
    assert len(sources) == len(lenses) == 0


def test_a_sky_needs_its_section(tmp_path):
    config = {"run": "real", "survey": {"tree": "dr9"}, "sample": {"known_lenses": "known.csv"}}
    with pytest.raises(LenspipeError, match="config key simulation: missing"):
        simulate(load_settings(config), 1, tmp_path)


def test_statistics_are_of_the_primary_sky(sky, truth):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "sky_statistics.py"
    statistics = runpy.run_path(str(path))
    table, bricks = statistics["read_sky"](sky)
    assert bricks == 1
    assert len(table) == truth["primary"].sum()
    # What is measured is true but for errors of some per cent.
    bright = table[table["r"] < 20]
    assert np.allclose(bright["r"], bright["deflector r"], atol=0.2)
    rows = statistics["compare"](table)
    flat = statistics["flat"](rows, {"sources, per brick": len(table)})
    assert flat["lenses g p50 (real)"] == 21.10
    assert flat["sources, per brick (real)"] == 7500
    ours, visible = flat["lenses theta_E p50"], truth[truth["visible"] & truth["primary"]]
    assert ours == pytest.approx(visible["theta_e_arcsec"].median(), abs=1e-3)
    assert "| lenses | theta_E | 5, 25, 50, 75, 95 |" in statistics["markdown"](rows, {})
    assert statistics["is_off"]("galaxies z < 20, per brick", 241)
    assert not statistics["is_off"]("galaxies z < 20, per brick", 239)
    red, other = statistics["count_neighbours"](table, table[table["kind"] == "elliptical"])
    assert 0 <= red < 20
    assert 0 <= other < 20


@pytest.mark.parametrize(
    ("snr", "theta_e", "magnification", "grade"),
    [
        (120, 2.0, 8, "A"),
        (60, 2.0, 8, "B"),
        (20, 2.0, 8, "C"),
        (120, 1.1, 8, "B"),  # merges with the deflector
        (120, 2.0, 2.5, "B"),  # one image, hardly stretched
        (60, 1.1, 2.5, "C"),
        (20, 1.1, 2.5, "C"),
    ],
)
def test_grades_need_signal_resolution_and_magnification(snr, theta_e, magnification, grade):
    arcs = Arcs(np.zeros((3, 5, 5)), 0, 0, magnification, 1.3, visible=True, shown_snr=snr)
    assert grade_of(arcs, theta_e) == grade
