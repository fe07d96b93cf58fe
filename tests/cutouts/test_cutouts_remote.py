"""Chunks fetched from servers: killed, out of disk, with bricks that are not available."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import forks
from helpers.loopback import Fault, Loopback

from lenspipe.config.settings import load_settings
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.retrieval import retry

#: Does the two steps of retrieval for a chunk; takes settings as JSON.
SCRIPT = """
import json, sys
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_chunk
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.utils.errors import LenspipeError
settings = load_settings(json.loads(sys.argv[1]))
try:
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
except LenspipeError as error:
    sys.exit(str(error))
"""


def config(url, **changes):
    retrieval = {"contact": "me@example.org", "timeout_s": 5, "attempts": 2}
    return {
        "run": "chunks",
        "survey": {"release": "dr9", "tree": str(url)},
        "retrieval": retrieval | changes,
        "chunks": {"nside": 4},
        "sample": {"known_lenses": "known.csv"},
    }


def fetch_all(settings):
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
    return read_manifest(settings.paths.manifest("cutouts", chunk))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.002)


@pytest.fixture(scope="module")
def undisturbed(small_survey, tmp_path_factory):
    """Images by brick, from the local tree."""
    with contextlib.chdir(tmp_path_factory.mktemp("local")):
        settings = load_settings(config(small_survey.tree))
        fetch_all(settings)
        return {
            brick: read_cutouts(settings.paths.cutouts(brick))[0] for brick in small_survey.bricks
        }


def check(settings, undisturbed, lacking=()):
    for brick, images in undisturbed.items():
        path = settings.paths.cutouts(brick)
        if brick in lacking:
            assert not path.exists()
        else:
            np.testing.assert_array_equal(read_cutouts(path)[0], images)


def test_killed_four_times(small_survey, undisturbed, tmp_path):
    """The end is that of an undisturbed run, and what was done is not fetched again."""
    rng, kills = random.Random(1), 0
    with Loopback(small_survey.tree, latency_s=0.04) as server:
        settings = load_settings(config(server.url, connections=2))
        while kills < 4:
            process = forks.context().Process(target=fetch_all, args=[settings])
            process.start()
            before = len(server.requests)
            done = {b for b in small_survey.bricks if settings.paths.cutouts(b).exists()}
            # Some way into the requests for coadds.
            images = rng.randint(2, 14)
            while process.is_alive() and asked_for_coadds(server, before) < images:
                time.sleep(0.002)
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                kills += 1
            else:
                shutil.rmtree(settings.paths.root / "cutouts")
            asked = {r.path.split("/")[-2] for r in server.requests[before:] if "coadd" in r.path}
            assert not asked & done
        fetch_all(settings)
    check(settings, undisturbed)


def asked_for_coadds(server, since):
    return sum("coadd" in request.path for request in server.requests[since:])


def test_what_can_not_be_had(small_survey, undisturbed):
    """Each brick ends with a reason that says whether it may pass; a later run mends it."""
    gone, ill = small_survey.bricks[2], small_survey.bricks[5]
    faults = {"on": True}

    def fault(request):
        if gone in request.path and "coadd" in request.path:
            return Fault("404")
        return (
            Fault("500")
            if faults["on"] and "image-r" in request.path and ill in request.path
            else None
        )

    with Loopback(small_survey.tree, faults=fault) as server:
        settings = load_settings(config(server.url))
        entries = fetch_all(settings)
        assert entries[gone]["status"] == entries[ill]["status"] == "failed"
        assert entries[gone]["transient"] is False
        assert "no image in any band" in entries[gone]["reason"]
        assert entries[ill]["transient"] is True
        assert "image-r.fits.fz: 500 Internal Server Error" in entries[ill]["reason"]
        check(settings, undisturbed, {gone, ill})
        faults["on"] = False
        server.reset()
        entries = fetch_all(settings)
        assert entries[ill]["status"] == "done"
        asked = {r.path.split("/")[-2] for r in server.requests if "coadd" in r.path}
        assert asked == {gone, ill}
    check(settings, undisturbed, {gone})


def test_a_server_that_is_down_is_left_alone(small_survey, undisturbed):
    with Loopback(small_survey.tree) as server:
        settings = load_settings(config(server.url))
        (chunk,) = load_plan(settings)
        parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
    entries = read_manifest(settings.paths.manifest("cutouts", chunk))
    assert all(entry["transient"] for entry in entries.values())
    assert sum("not tried" in entry["reason"] for entry in entries.values()) == 3


def test_a_band_that_is_missing(small_survey, undisturbed):
    brick = small_survey.bricks[0]

    def fault(request):
        return (
            Fault("404")
            if f"{brick}-image-r" in request.path or f"{brick}-invvar-r" in request.path
            else None
        )

    with Loopback(small_survey.tree, faults=fault) as server:
        settings = load_settings(config(server.url))
        entries = fetch_all(settings)
    assert entries[brick]["missing_bands"] == "r"
    images, catalog = read_cutouts(settings.paths.cutouts(brick))
    assert np.isnan(images[:, 1]).all()
    np.testing.assert_array_equal(images[:, [0, 2]], undisturbed[brick][:, [0, 2]])
    assert (catalog["flags"] & 1).all()


@pytest.mark.parametrize("what", ["cutouts", "temporary files"])
def test_a_full_disk(small_survey, undisturbed, tmp_path, what):
    """One clear line, and nothing half-written that counts as whole later."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no rights to mount a small disk of one's own (unshare)")
    small = tmp_path / ("results" if what == "cutouts" else "scratch")
    small.mkdir()
    kept = tmp_path / "kept"
    size = "1200k" if what == "cutouts" else "200k"
    script = (
        f"mount -t tmpfs -o size={size} tmpfs {small} && "
        '"$@"; status=$?; ' + f"cp -r {small} {kept}; exit $status"
    )
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(tmp_path)}
    if what != "cutouts":
        environment["TMPDIR"] = str(small)
    with Loopback(small_survey.tree) as server:
        settings = load_settings(config(server.url))
        command = [sys.executable, "-c", SCRIPT, json.dumps(config(server.url))]
        done = subprocess.run(
            [*unshare, "sh", "-c", script, "sh", *command],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert "no space left on the disk; free some and start again" in last
        assert "Traceback" not in done.stderr
        if what == "cutouts":
            shutil.rmtree(small)
            shutil.move(kept, small)
        before = {b for b in small_survey.bricks if settings.paths.cutouts(b).exists()}
        for brick in before:
            np.testing.assert_array_equal(
                read_cutouts(settings.paths.cutouts(brick))[0], undisturbed[brick]
            )
        fetch_all(settings)
    assert what != "cutouts" or 0 < len(before) < len(small_survey.bricks)
    check(settings, undisturbed)
