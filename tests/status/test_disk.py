"""What a run will need on disk."""

from collections import namedtuple

import pandas as pd
import pytest

from lenspipe.config.settings import load_settings
from lenspipe.products.manifests import write_manifest
from lenspipe.products.plan import Plan
from lenspipe.status import disk
from lenspipe.status.disk import describe_disk_space

Usage = namedtuple("Usage", "total used free")
CONFIG = {
    "run": "few",
    "survey": {"tree": "tree"},
    "sample": {"known_lenses": "known.csv"},
}
#: Bytes of a compressed cutout of 101 x 101 in three bands.
CUTOUT = 101**2 * 3


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """1000 chunks of 224 bricks, as the survey has, and a disk of 1.1 TB."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(0, 0, 1.1e12))
    rows = [(f"16-{chunk:06d}", f"b{brick}") for chunk in range(1000) for brick in range(224)]
    return Plan.of(pd.DataFrame(rows, columns=["chunk", "brick"]).assign(region="south"))


def lines(plan, **changes):
    return describe_disk_space(load_settings(CONFIG | changes), plan, 8)


def test_a_whole_survey_that_does_not_fit(plan, tmp_path):
    need, warning = lines(plan)
    assert need == (
        "disk: the whole run still needs about 1.4 TB for cutouts (keep: cutouts), 44 GB for "
        f"records at a time, 2.2 GB for scores; 1.1 TB free in {tmp_path}"
    )
    assert warning.startswith("disk: 1.4 TB may not fit into 1.1 TB; ")
    assert "keep: scores" in warning
    assert "5.5 TB for records," in lines(plan, keep="all")[0]


def test_with_a_given_model_cutouts_pass(plan):
    need, warning = lines(plan, keep="scores", inference={"model": "given.keras"})
    assert "11 GB for cutouts (keep: scores, at a time), 44 GB for records at a time" in need
    assert warning == ""
    # A sample waits for all of them.
    need, warning = lines(plan, keep="scores")
    assert "1.4 TB for cutouts" in need
    assert "inference.model" in warning


def test_what_is_done_counts_and_is_measured(plan):
    settings = load_settings(CONFIG)
    done = {"b0": {"status": "done", "count": 90, "hash": "a"}}
    done |= {"b1": {"status": "empty", "count": 0, "hash": "b"}}
    done |= {"b2": {"status": "failed", "count": 0, "hash": "", "reason": "503"}}
    for chunk in list(plan)[:500]:
        write_manifest(settings.paths.manifest("cutouts", chunk), done)
    galaxies = 500 * 224 * 45
    assert f"{galaxies * CUTOUT / 1e9:.0f} GB for cutouts" in lines(plan)[0]
    settings.paths.scores("x").parent.mkdir()
    for chunk in plan:
        settings.paths.scores(chunk).touch()
    assert lines(plan) == ("", "")


def test_a_simulated_sky_is_counted_until_it_is_there(plan):
    config = {"run": "few", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
    settings = load_settings(config)
    assert "14 TB for the simulated sky" in describe_disk_space(settings, plan, 8)[0]
    settings.paths.sky_manifest.parent.mkdir(parents=True)
    settings.paths.sky_manifest.touch()
    assert "for the simulated" not in describe_disk_space(settings, plan, 8)[0]
