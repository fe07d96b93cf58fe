"""A search of what the portal serves, by its names and in its moods."""

import json
import re

import fitsio
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import rehearsal
from helpers.workflow import NETWORK, REPOSITORY, run

from lenspipe.config.base import merged
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys import legacy
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.models.registry import build
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.retrieval import hosts, retry
from lenspipe.survey.coadds import read_geometry
from lenspipe.utils.fits import open_fits

RELEASES = [release for release in rehearsal.NUMBERS if release in legacy.RELEASES]
SECRET = "s3cr3t"

#: Bytes after which a connection stops: a part of the table of bricks, and of most coadds.
STOPS_AFTER = 50_000

#: All names that the survey publishes, of those that a search may ask for.
PUBLISHED = r"""(survey-bricks\.fits\.gz|legacysurvey_dr\d+\.sha256sum
|(north|south)/(survey-bricks-dr\d+-\2\.fits\.gz|legacysurvey_dr\d+_\2\.sha256sum
|tractor/(\d{3})/(tractor-\4\d[mp]\d{3}\.fits|legacysurvey_dr\d+_\2_tractor_\4\.sha256sum)
|coadd/(\d{3})/(\6\d[mp]\d{3})/(legacysurvey-\7-(image|invvar)-[griz]\.fits\.fz
|legacysurvey-\7-maskbits\.fits\.fz|legacysurvey_dr\d+_\2_coadd_\6_\7\.sha256sum)))"""


def config_of(address, release, **changes):
    config = {
        "run": "rehearsal",
        "survey": {"release": release, "tree": address},
        "footprint": {"ra": [149.1, 151.1], "dec": [1.2, 3.2]},
        "chunks": {"nside": 4},
        "parent": {"min_exposures": 1},
        "inference": {"model": "given.keras", "backend": "tensorflow"},
        "retrieval": {"contact": "me@example.org", "checksums": True, "timeout_s": 5},
    }
    config["survey"]["bands"] = list(legacy.RELEASES[release].bands_of_regions["south"])
    return config | changes


def cut(config):
    """Make the only chunk; returns settings and both manifests."""
    settings = load_settings(config)
    write_bricks(settings)
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
    paths = settings.paths
    return settings, *(read_manifest(paths.manifest(s, chunk)) for s in ("parent", "cutouts"))


def asked(server, release):
    """Names of the release's files that were asked for."""
    prefix = f"/{rehearsal.ROOT}/{release}/"
    return {request.path.removeprefix(prefix) for request in server.requests}


@pytest.mark.parametrize("release", RELEASES)
def test_files_are_as_the_survey_writes_them(tmp_path, release):
    survey = rehearsal.write_tree(tmp_path, release, 1)
    for path in survey.tree.rglob("*.fz"):
        with fitsio.FITS(str(path)) as fits:
            header = fits[1].read_header()
            assert len(fits) == (4 if "maskbits" in path.name else 2)
        assert header["BRICK"].strip() == survey.bricks[0]
        assert len(header["CMDLINE"]) > 68
        assert isinstance(header["RA"], str)
        wcs, shape = read_geometry(path)
        assert shape == (400, 400)
        assert wcs.wcs.crval.tolist() == [150.125, 2.25]
        with open_fits(path):
            pass


@pytest.mark.parametrize("release", RELEASES)
def test_bricks_of_the_portal(tmp_path, monkeypatch, release):
    """Line and server at their worst give the same cutouts as a folder, at no more bytes."""
    survey = rehearsal.write_tree(tmp_path / "portal", release)
    monkeypatch.setattr(hosts, "_FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.05)
    (tmp_path / "local").mkdir()
    monkeypatch.chdir(tmp_path / "local")
    local, *_ = cut(config_of(str(survey.tree), release))
    monkeypatch.chdir(tmp_path)
    portal = rehearsal.Portal(limited=(2, 5), stops_after=30_000)
    with rehearsal.serve(tmp_path / "portal", release, portal) as (server, address):
        settings, catalogues, cutouts = cut(config_of(address, release))
        names = asked(server, release)
        sent = server.bytes_sent
        statuses = [request.status for request in server.requests]
    for brick in survey.bricks:
        images, table = read_cutouts(settings.paths.cutouts(brick))
        whole, rows = read_cutouts(tmp_path / "local" / local.paths.cutouts(brick))
        np.testing.assert_array_equal(images, whole)
        assert table.equals(rows)
        assert "unchecked" not in catalogues[brick]
        assert cutouts[brick]["status"] == "done"
    assert statuses.count(429) == 2
    assert all(re.fullmatch(PUBLISHED, name, re.X) for name in names), names
    sizes = [path.stat().st_size for path in survey.tree.rglob("*") if path.is_file()]
    assert sent < 1.1 * sum(sizes)


def test_a_published_file_that_arrives_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = rehearsal.write_tree(tmp_path / "portal", "dr10")
    spoilt = survey.bricks[1]
    tractor = survey.tree / "south" / "tractor" / spoilt[:3]
    rehearsal.list_sums(survey.tree, "dr10", tractor, wrong=[f"tractor-{spoilt}.fits"])
    with rehearsal.serve(tmp_path / "portal", "dr10") as (_, address):
        retrieval = {"contact": "me@example.org", "checksums": True, "attempts": 1}
        _, catalogues, _ = cut(config_of(address, "dr10", retrieval=retrieval))
    assert {brick: entry["status"] for brick, entry in catalogues.items()} == {
        survey.bricks[0]: "done",
        spoilt: "failed",
    }
    assert "SHA-256" in catalogues[spoilt]["reason"]


@pytest.mark.workflow
@pytest.mark.parametrize("release", RELEASES)
def test_the_whole_search(tmp_path, release):
    """A release's own configuration from the portal at its worst to candidates.

    Also with a password in the address, of which nothing is left.
    """
    config = yaml.safe_load((REPOSITORY / "config" / f"{release}.yaml").read_text())
    bands = config["survey"].get("bands", ["g", "r", "z"])
    survey = rehearsal.write_tree(tmp_path / "portal", release)
    portal = rehearsal.Portal(limited=(1, 2, 8, 9), stops_after=STOPS_AFTER)
    folder = tmp_path / "search"
    folder.mkdir()
    build("cmu_deeplens", bands=tuple(bands), **NETWORK).save(folder / "given.keras")
    tractor = fitsio.read(str(next(survey.tree.rglob("tractor-*.fits"))))
    (folder / "known.csv").write_text(f"ra,dec,grade\n{tractor['ra'][0]},{tractor['dec'][0]},A\n")
    with rehearsal.serve(tmp_path / "portal", release, portal) as (server, address):
        private = address.replace("://", f"://me:{SECRET}@") + f"?token={SECRET}"
        changes = {
            "survey": {"tree": private},
            "retrieval": {"contact": "me@example.org", "checksums": True},
            "chunks": {"nside": 4},
            "parent": {"min_exposures": 1},
            "sample": {"known_lenses": ["known.csv"]},
            "inference": {"model": "given.keras", "backend": "tensorflow"},
            "candidates": {"threshold": {"by": "number", "value": 8}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(merged(config, changes)))
        output = run(folder)
        requests = server.requests
        names = asked(server, release)
    assert sum(request.status == 429 for request in requests) == 4
    stopped = [request for request in requests if request.bytes_sent == STOPS_AFTER]
    assert {request.path.rpartition(".")[2] for request in stopped} == {"fz", "gz"}
    assert all("authorization" in request.headers for request in requests)
    assert {request.query for request in requests} == {f"token={SECRET}"}
    assert all(re.fullmatch(PUBLISHED, name, re.X) for name in names), names
    results = folder / "results" / config["run"]
    summary = json.loads((results / "summary.json").read_text())
    assert (summary["n_bricks"], summary["n_bricks_failed"]) == (2, 0)
    assert summary["n_galaxies"] == 8
    assert sum(len(pd.read_parquet(path)) for path in results.glob("scores/*.parquet")) == 8
    candidates = pd.read_csv(results / "candidates" / "candidates.csv")
    assert len(candidates) == 8
    assert candidates["known"].sum() == 1
    assert summary["n_bricks_unchecked"] in (0, len(survey.bricks))
    assert SECRET not in output
    for path in folder.rglob("*"):
        if path.is_file() and path != folder / "config.yaml":
            assert SECRET.encode() not in path.read_bytes(), path
