"""Addresses of each release's files: the examples' against the documented layout."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import make_small_survey
from helpers.loopback import Loopback

from lenspipe.config.settings import load_settings
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.cutouts.stamps import coadd_paths
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.survey.sweeps import sweep_names, sweep_path

CONFIGS = Path(__file__).resolve().parents[2] / "config"
PORTAL = "https://portal.nersc.gov/cfs/cosmo/data/legacysurvey"
#: What www.legacysurvey.org/<release>/files says: regions, and the layout of a region's folder.
REGIONS = {
    "dr7": [""],
    "dr8": ["north/", "south/"],
    "dr9": ["north/", "south/"],
    "dr10": ["south/"],
}
SWEEPS = {"dr7": "7.1", "dr8": "8.0", "dr9": "9.0", "dr10": "10.1"}
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


@pytest.mark.parametrize("release", ["dr7", "dr8", "dr9", "dr10"])
def test_examples_ask_for_what_is_documented(release):
    config = yaml.safe_load((CONFIGS / f"{release}.yaml").read_text())
    bands = ["g", "r", "i", "z"] if release == "dr10" else ["g", "r", "z"]
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
    assert folders == REGIONS[release]


def test_the_i_band_of_dr10(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = make_small_survey(tmp_path / "tree", "dr10", "griz")
    with Loopback(survey.tree) as server:
        settings = load_settings(
            {
                "run": "dr10",
                "survey": {"release": "dr10", "tree": server.url, "bands": ["g", "r", "i", "z"]},
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
