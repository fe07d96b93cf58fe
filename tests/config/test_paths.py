"""Paths, atomic writes, manifests and progress."""

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lenspipe.cli.job import job
from lenspipe.config.paths import RunPaths
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.config.surveys.registry import get_release
from lenspipe.products.manifests import read_manifest, update_manifest, write_manifest
from lenspipe.utils import progress
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "table.fits.gz"
    with atomic(path) as temporary:
        assert temporary.suffixes == path.suffixes
        assert not temporary.exists()
        temporary.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    code = (
        "import os, signal, sys\nfrom lenspipe.utils.files import atomic\n"
        "with atomic(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("dr7", "tree/coadd/150/1501p320/legacysurvey-1501p320-image-g.fits.fz"),
        ("dr9", "tree/south/coadd/150/1501p320/legacysurvey-1501p320-image-g.fits.fz"),
    ],
)
def test_survey_paths(release, expected):
    paths = RELEASES[release].paths("tree")
    assert str(paths.coadd("south", "1501p320", "image", "g")) == expected
    packed = "gz" if release == "dr7" else "fz"
    assert paths.coadd("south", "1501p320", "maskbits").name == (
        f"legacysurvey-1501p320-maskbits.fits.{packed}"
    )


def test_unknown_release():
    with pytest.raises(LenspipeError, match="expected one of dr7, dr8, dr9, dr10, dr11"):
        get_release("legacy", "dr5")
    with pytest.raises(LenspipeError, match=r"survey\.name: found 'hsc', expected one of legacy"):
        get_release("hsc", "pdr3")


def test_run_paths():
    paths = RunPaths("demo", results="out")
    assert str(paths.cutouts("1501p320")) == "out/demo/cutouts/150/1501p320.fits"
    assert str(paths.cutouts("{brick}", folder="{folder}")) == (
        "out/demo/cutouts/{folder}/{brick}.fits"
    )
    assert str(paths.mosaic_page(12)) == "out/demo/mosaics/page-0012.png"


def test_manifest(tmp_path):
    path = tmp_path / "manifests" / "16-000001.json"
    assert read_manifest(path) == {}
    update_manifest(path, {"b": {"status": "done"}})
    assert not path.exists()  # only the chunk's own job writes all of it
    write_manifest(path, {"b": {"status": "failed"}, "a": {"status": "empty"}})
    update_manifest(path, {"b": {"status": "done"}})
    assert read_manifest(path) == {"a": {"status": "empty"}, "b": {"status": "done"}}
    before = path.read_bytes()
    write_manifest(path, {"b": {"status": "done"}, "a": {"status": "empty"}})
    assert path.read_bytes() == before


def test_updates_at_once_are_all_kept(tmp_path):
    path = tmp_path / "16-000001.json"
    write_manifest(path, {})
    bricks = [f"{i:04d}p000" for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda brick: update_manifest(path, {brick: {"count": 1}}), bricks))
    assert list(read_manifest(path)) == bricks


@pytest.fixture
def caught(caplog):
    """The package's log."""
    caplog.set_level(logging.INFO, logger="lenspipe")
    return caplog


def test_track(caught):
    assert list(progress.track("abc", "letters", seconds=0)) == list("abc")
    assert caught.messages[0].startswith("letters: 0/3")
    assert caught.messages[-1].startswith("letters: 3/3")


def test_track_is_not_chatty(caught):
    assert sum(progress.track(range(1000), "numbers")) == 499500
    assert len(caught.messages) <= 3


class Job:
    """What Snakemake hands to a script."""

    def __init__(self, log, **config):
        self.log, self.config, self.rule = [str(log)], config, "rule"


@pytest.fixture
def restored_log(monkeypatch):
    """Without the workflow's process to follow; the log's handlers are put back."""
    monkeypatch.delenv("LENSPIPE_WORKFLOW_PID", raising=False)
    handlers = list(progress.log.handlers)
    yield
    for handler in progress.log.handlers:
        handler.close()
    progress.log.handlers[:] = handlers


@pytest.mark.usefixtures("restored_log")
def test_job_writes_its_log(tmp_path, capsys):
    path = tmp_path / "logs" / "rule" / "all.log"
    with job(Job(path, run="demo", simulation={}, footprint={"dec": [0, 0.2]})) as own:
        progress.log.info("run %s", own.run)
    assert path.read_text().endswith(" run demo\n")
    assert "run demo" in capsys.readouterr().err


@pytest.mark.usefixtures("restored_log")
def test_job_answers_bad_input_with_lines(tmp_path):
    path = tmp_path / "all.log"
    with (
        pytest.raises(SystemExit) as stopped,
        job(Job(path, run="demo", simulation={}, footprint={"dec": [0, 0.2]})),
    ):
        raise LenspipeError("a.fits: bad\nb.fits: bad")
    assert stopped.value.code == 1
    lines = [line.partition(" ")[2] for line in path.read_text().splitlines()]
    assert lines == ["lenspipe: error: a.fits: bad", "lenspipe: error: b.fits: bad"]


def test_job_ends_with_its_workflow():
    workflow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    code = (
        "import sys, time; from lenspipe.utils.progress import end_with; "
        "end_with(int(sys.argv[1])); print('up', flush=True); time.sleep(60)"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(workflow.pid)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert job.stdout.readline() == "up\n"
        begin = time.monotonic()
        os.kill(workflow.pid, signal.SIGKILL)
        workflow.wait()
        assert job.wait(timeout=20) == 1
        assert time.monotonic() - begin < 20
    finally:
        for process in (workflow, job):
            process.kill()
            process.wait()
        job.stdout.close()
