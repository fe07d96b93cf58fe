"""Addresses of each release's files: the examples' against the documented layout, and real ones."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import make_small_survey, write_fits_table
from helpers.loopback import Loopback

from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.cutouts.stamps import coadd_paths
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import select_bricks
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.survey.bricks import brick_grid
from lenspipe.survey.sweeps import sweep_names, sweep_path
from lenspipe.survey.tractor import tractor_table
from lenspipe.utils.errors import LenspipeError

CONFIGS = Path(__file__).resolve().parents[2] / "config"
PORTAL = "https://portal.nersc.gov/cfs/cosmo/data/legacysurvey"
#: What www.legacysurvey.org/<release>/files says: regions, and the layout of a region's folder.
REGIONS = {
    "dr7": [""],
    "dr8": ["north/", "south/"],
    "dr9": ["north/", "south/"],
    "dr10": ["south/"],
    "dr11": ["north/", "south/"],
}
SWEEPS = {"dr7": "7.1", "dr8": "8.0", "dr9": "9.0", "dr10": "10.1", "dr11": "11.0"}
LAYOUT = [
    r"survey-bricks-{release}{suffix}\.fits\.gz",
    r"tractor/(\d{{3}})/tractor-\1\d[pm]\d{{3}}\.fits",
    r"tractor/(\d{{3}})/legacysurvey_{release}{region}_tractor_\1\.sha256sum",
    r"coadd/(\d{{3}})/(\1\d[pm]\d{{3}})/legacysurvey-\2-(image|invvar)-[griz]\.fits\.fz",
    r"coadd/(\d{{3}})/(\1\d[pm]\d{{3}})/legacysurvey-\2-maskbits\.fits\.{packed}",
    r"coadd/(\d{{3}})/(\1\d[pm]\d{{3}})/legacysurvey_{release}{region}_coadd_\1_\2\.sha256sum",
    r"sweep/{sweeps}/sweep-\d{{3}}[pm]\d{{3}}-\d{{3}}[pm]\d{{3}}\.fits",
    r"sweep/{sweeps}/legacysurvey_{release}{region}_sweep_{sweeps}\.sha256sum",
]


def addresses(settings, region, brick, ra, dec):
    """All that a run may ask for about a brick."""
    paths = settings.survey_paths
    yield paths.bricks(region)
    yield paths.tractor(region, brick)
    yield paths.checksums(paths.tractor(region, brick))
    yield from coadd_paths(paths, brick, region, settings.survey.bands).values()
    yield paths.checksums(paths.coadd(region, brick, "image", "g"))
    for name in sweep_names(ra, dec, settings.release):
        path = sweep_path(paths, settings.survey.sweeps, region, name)
        yield path
    yield paths.checksums(path, settings.release.sweep_folder(region))


@pytest.mark.parametrize("release", ["dr7", "dr8", "dr9", "dr10", "dr11"])
def test_examples_ask_for_what_is_documented(release):
    config = yaml.safe_load((CONFIGS / f"{release}.yaml").read_text())
    bands = ["g", "r", "i", "z"] if release in ("dr10", "dr11") else ["g", "r", "z"]
    settings = load_settings(config | {"survey": config["survey"] | {"bands": bands}})
    assert settings.survey.tree == f"{PORTAL}/{release}"
    assert settings.survey_paths.all_bricks() == f"{PORTAL}/{release}/survey-bricks.fits.gz"
    folders = []
    for region in settings.release.regions:
        asked = list(addresses(settings, region, "1501p320", 150.147, 32.0))
        folder = f"{region}/" if release != "dr7" else ""
        folders.append(folder)
        names = {
            "release": release,
            "suffix": f"-{region}" if folder else "",
            "region": f"_{region}" if folder else "",
            "packed": "gz" if release == "dr7" else "fz",
            "sweeps": SWEEPS[release],
        }
        matched = set()
        for address in asked:
            name = address.removeprefix(f"{PORTAL}/{release}/{folder}")
            fits = [line for line in LAYOUT if re.fullmatch(line.format(**names), name)]
            assert len(fits) == 1, address
            matched |= set(fits)
        assert len(matched) == len(LAYOUT)
        assert len(set(asked)) == len(asked)
        images = [address for address in asked if "-image-" in address]
        assert len(images) == len(settings.release.bands_of_regions[region])
    assert folders == REGIONS[release]


@pytest.mark.shared
def test_real_paths_of_dr10(shared):
    """Every path asked for about 598 bricks of DR10.1 exists, but for the bands that they lack.

    Kinds of files in the list that are never asked for: coadds blobmodel, ccds, chi2, depth,
    galdepth and model, those in W1 to W4, and their JPEGs; metrics; tractor-i; the sweeps
    10.1-extra and 10.1-lightcurves; external, logs and randoms.
    """
    with gzip.open(shared / "legacysurvey" / "dr10.1-paths.txt.gz", "rt") as file:
        lines = file.read().split()
    listed = {line.removeprefix("./") for line in lines}
    bricks = [
        name[1] for path in listed if (name := re.search(r"/tractor-(\d{4}[pm]\d{3})\.", path))
    ]
    assert len(bricks) == 598
    release = RELEASES["dr10"]
    paths = release.paths("https://example.org/dr10")
    grid = brick_grid(release.brick_deg).table.set_index("brickname")
    asked, lacking = set(), dict.fromkeys(release.bands, 0)

    def exists(path):
        asked.add(path.removeprefix(f"{paths.tree}/"))
        return path.removeprefix(f"{paths.tree}/") in listed

    for brick in bricks:
        tractor = paths.tractor("south", brick)
        assert exists(tractor)
        assert exists(paths.checksums(tractor))
        coadds = coadd_paths(paths, brick, "south", release.bands)
        assert exists(coadds["maskbits", None])
        assert exists(paths.checksums(coadds["maskbits", None]))
        for band in release.bands:
            kinds = {kind: exists(coadds[kind, band]) for kind in ("image", "invvar")}
            for kind in ("nexp", "psfsize"):
                kinds[kind] = exists(paths.coadd("south", brick, kind, band))
            assert len(set(kinds.values())) == 1, (brick, band)
            lacking[band] += not kinds["image"]
        names = sweep_names(*grid.loc[brick, ["ra", "dec"]], release)
        sweeps = [sweep_path(paths, None, "south", name) for name in names]
        assert all(map(exists, sweeps))
        assert exists(paths.checksums(sweeps[0]))
    assert lacking == {"g": 6, "r": 0, "i": 34, "z": 5}
    never_asked = r"-(blobmodel|chi2|depth|galdepth|model|ccds|[a-z]*resid|wise|wisemodel)\b|\.jpg$"
    never_asked += r"|-W[1-4]\.|^randoms|^south/(metrics|tractor-i|external|logs|randoms)|/sweep/"
    assert not {path for path in listed - asked if not re.search(never_asked, path)}
    places = grid[["ra", "dec"]].to_numpy()[::10]
    everywhere = {name for ra, dec in places for name in sweep_names(ra, dec, release)}
    real_sweeps = {path.rpartition("/")[2] for path in listed if "/sweep/10.1/sweep-" in path}
    assert len(real_sweeps) == 1436
    assert real_sweeps <= everywhere


def test_facts_of_dr11():
    release = RELEASES["dr11"]
    assert release.mask(("RESOLVED", "MCLOUDS", "WISE_GAIA")) == 0x20000 | 0x40000 | 0x80000
    assert release.bands_of_regions == {"north": ("g", "r", "z"), "south": ("g", "r", "i", "z")}
    assert release.regions_with("grz") == ("north", "south")
    assert release.regions_with("griz") == ("south",)
    layers = [release.viewer_layer(region) for region in release.regions]
    assert layers == ["ls-dr11-north", "ls-dr11-south"]
    assert "layer=ls-dr11&" in release.viewer_address(150.0, 2.0)
    assert [list(tables) for tables in release.tap_tables.values()] == [
        ["ls_dr11.tractor_n"],
        ["ls_dr11.tractor_s"],
    ]


def test_mask_bits_are_those_of_the_release():
    known = {name: set(release.mask_bits) for name, release in RELEASES.items()}
    assert RELEASES["dr7"].catalog_bits == ("BRIGHT",)
    assert known["dr7"] == known["dr8"] == known["dr9"]
    assert known["dr10"] - known["dr9"] == {"SATUR_I", "ALLMASK_I", "SUB_BLOB"}
    assert known["dr11"] - known["dr10"] == {"RESOLVED", "MCLOUDS", "WISE_GAIA"}
    assert RELEASES["dr9"].bad_pixels("gz") == 0b10110110
    config = yaml.safe_load((CONFIGS / "dr10.yaml").read_text())
    with pytest.raises(
        LenspipeError, match=r"found MCLOUDS, expected some of NPRIMARY, .*SUB_BLOB \(dr10\)"
    ):
        load_settings(config | {"parent": {"maskbits": ["MCLOUDS"]}})


@pytest.mark.parametrize(
    ("release", "numbers", "others"),
    [
        ("dr9", [9010, 9011, 9012], [8001, 9999, 10000]),
        ("dr10", [9999, 10000, 10300], [9012, 11000]),
        ("dr11", [11000, 11999], [10300, 12000]),
    ],
)
def test_numbers_of_releases(release, numbers, others):
    release = RELEASES[release]
    columns = {
        "objid": np.arange(1),
        "brickid": np.ones(1, int),
        "brickname": np.array(["1501p320"]),
    }
    columns |= {name: np.ones(1) for name in ("ra", "dec", "sersic", "flux_z")}
    columns["nobs_z"] = np.ones(1, int)
    columns |= {f"shape_{part}": np.ones(1) for part in ("r", "e1", "e2")}
    columns |= {"type": np.array(["DEV"]), "maskbits": np.zeros(1, int)}
    for number in numbers:
        table = tractor_table(columns | {"release": np.array([number])}, "here", release, "z")
        assert table.release.tolist() == [number]
    for number in others:
        with pytest.raises(LenspipeError, match=f"found release {number}, expected {release.name}"):
            tractor_table(columns | {"release": np.array([number])}, "here", release, "z")


def test_the_north_of_dr11_has_no_i(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "lenspipe")
    survey = make_small_survey(tmp_path / "tree", "dr11", "griz")
    rows = {"brickname": ["1800p600"], "ra": [180.0], "dec": [60.0], "survey_primary": [True]}
    rows["brickid"] = np.array([5], "i4")
    write_fits_table(RELEASES["dr11"].paths(survey.tree).bricks("north"), rows)
    config = {"run": "dr11", "sample": {"known_lenses": "known.csv"}}
    regions = {}
    for bands in ("grz", "griz"):
        tree = {"release": "dr11", "tree": str(survey.tree), "bands": list(bands)}
        regions[bands] = set(select_bricks(load_settings(config | {"survey": tree})).region)
    assert regions == {"grz": {"north", "south"}, "griz": {"south"}}
    assert "bricks: north not searched, since it lacks a band of survey.bands" in caplog.text


@pytest.mark.parametrize("name", ["dr10", "dr11"])
def test_the_i_band(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = make_small_survey(tmp_path / "tree", name, "griz")
    with Loopback(survey.tree) as server:
        settings = load_settings(
            {
                "run": name,
                "survey": {"release": name, "tree": server.url, "bands": ["g", "r", "i", "z"]},
                "retrieval": {"contact": "me@example.org"},
                "chunks": {"nside": 4},
                "sample": {"known_lenses": "known.csv"},
            }
        )
        (chunk,) = load_plan(settings)
        parent_of_chunk(settings, chunk)
        cut_chunk(settings, chunk)
    images, catalog = read_cutouts(settings.paths.cutouts(survey.bricks[0]))
    assert images.shape == (4, 4, 101, 101)
    assert np.isfinite(images).all()
    assert not catalog["flags"].any()
    assert {"mag_i", "nobs_i"} <= set(catalog.columns)
