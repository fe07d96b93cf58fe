"""A full disk ends a job in one line, and what is complete stays."""

import errno
import os
import subprocess

import fitsio
import numpy as np
import pandas as pd
import pytest
from conftest import make_small_survey
from helpers.loopback import Loopback

from lenspipe.config.data import Retrieval
from lenspipe.config.settings import load_settings
from lenspipe.cutouts import chunk as cutouts_chunk
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import write_manifest
from lenspipe.products.record_files import write_file
from lenspipe.products.tables import write_table
from lenspipe.retrieval.cache import Cache
from lenspipe.retrieval.hosts import Hosts
from lenspipe.utils.errors import DiskFullError
from lenspipe.utils.files import atomic


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def write_images(path):
    with atomic(path) as temporary:
        fitsio.write(str(temporary), np.ones((400, 400)))


NOISE = np.random.default_rng(0).normal(size=100_000)
WRITERS = {
    "table": lambda disk: write_table(disk / "a.parquet", pd.DataFrame({"a": NOISE})),
    "records": lambda disk: write_file(disk / "a.tfrecord", [b"x" * 1000] * 5000),
    "images": lambda disk: write_images(disk / "a.fits"),
    "manifest": lambda disk: write_manifest(disk / "a.json", {"b": {"c": "x" * 10**6}}),
    "hosts": lambda disk: Hosts(disk / "a.json", Retrieval()).note(
        "http://a", proved=("x" * 10**6,)
    ),
    "cache": lambda disk: (
        Cache(disk / "a", 1e9)
        .get("http://a/b", lambda path: path.write_bytes(b"x" * 10**6))
        .__enter__()
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_writers(small_disk, kind):
    (small_disk / "complete").write_text("stays")
    with pytest.raises(DiskFullError) as error:
        WRITERS[kind](small_disk)
    assert str(error.value).startswith(f"{small_disk / 'a'}")
    assert "no space left on the disk; free some and start again" in str(error.value)
    assert "\n" not in str(error.value)
    left = [path for path in small_disk.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == [small_disk / "complete"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("stage", ["parent", "cutouts"])
def test_a_disk_that_fills_up_during_retrieval(tmp_path, monkeypatch, number, stage):
    monkeypatch.chdir(tmp_path)
    # One brick after the other.
    monkeypatch.setattr(cutouts_chunk, "BRICKS_AT_ONCE", 1)
    survey = make_small_survey(tmp_path / "tree", "dr9", "grz", 150.0 + 0.3 * np.arange(4))
    write, written = os.pwrite, [0]

    def fill(file, data, offset):
        path = os.readlink(f"/proc/self/fd/{file}")
        if ("tractor-" if stage == "parent" else "legacysurvey-") in path:
            written[0] += len(data)
            if written[0] > limit:
                raise OSError(number, os.strerror(number))
        return write(file, data, offset)

    with Loopback(survey.tree) as server:
        settings = load_settings(
            {
                "run": "full",
                "survey": {"release": "dr9", "tree": server.url},
                "chunks": {"nside": 4},
                "parent": {"min_exposures": 1},
                "sample": {"known_lenses": "known.csv"},
                "retrieval": {"contact": "me@example.org", "connections": 1},
            }
        )
        write_bricks(settings)
        (chunk,) = load_plan(settings)
        if stage == "cutouts":
            parent_of_chunk(settings, chunk)
        limit = 0 if stage == "parent" else 4_000_000
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fill)
            expected = "no space left on the disk; free some and start again"
            with pytest.raises(DiskFullError, match=expected) as error:
                (parent_of_chunk if stage == "parent" else cut_chunk)(settings, chunk)
        assert ("results/cache" if stage == "parent" else "TMPDIR") in str(error.value)
        complete = {path: path.read_bytes() for path in tmp_path.glob("results/full/cutouts/*/*")}
        assert (len(complete) > 0) == (stage == "cutouts")
        for path in complete:
            read_cutouts(path)
        if stage == "parent":
            parent_of_chunk(settings, chunk)
        cut_chunk(settings, chunk)
    assert all(path.read_bytes() == content for path, content in complete.items())
    assert len(list(tmp_path.glob("results/full/cutouts/*/*.fits"))) == len(survey.bricks)
