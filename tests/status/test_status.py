"""Tests of lenspipe.status.read and lenspipe.status.page."""

import base64
import json
import os
import re
import time

import pandas as pd
import pytest
import yaml

from lenspipe.cli.main import main
from lenspipe.config.settings import load_settings
from lenspipe.products.manifests import write_manifest
from lenspipe.products.plan import Plan
from lenspipe.status.page import format_status, write_status_page
from lenspipe.status.read import STAGES, read_chunks, read_status

CONFIG = {"run": "tiny", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [2, 3]}}
CONFIG |= {"mosaics": {"per_brick": True}}
CHUNKS = {
    "16-000001": ["1500p022", "1502p022"],
    "16-000002": ["1505p022", "1507p022"],
    "16-000003": ["1510p022", "1512p022", "1515p022"],
}
TORN = "survey/coadd/{}/{}/legacysurvey-{}-image-r.fits.fz: truncated"


def failure(brick, **more):
    reason = TORN.format(brick[:3], brick, brick)
    return {"status": "failed", "count": 0, "hash": "", "reason": reason} | more


def done(count, **more):
    return {"status": "done" if count else "empty", "count": count, "hash": "0"} | more


def at(path, end, text=""):
    """Write a file of a given time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (end, end))


def end_job(paths, stage, chunk, end, seconds):
    """Leave log and benchmark of a job that ended well."""
    at(paths.log(STAGES[stage], chunk), end, "12:00:00 all is well\n")
    at(paths.benchmark(STAGES[stage], chunk), end, f"s\th:m:s\tmax_rss\n{seconds}\t-\t-\n")


def table(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a run that is planned, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my run.yaml").write_text(yaml.safe_dump(CONFIG))
    settings = load_settings(CONFIG)
    rows = [(c, brick, "south") for c, bricks in CHUNKS.items() for brick in bricks]
    plan = Plan.of(pd.DataFrame(rows, columns=["chunk", "brick", "region"]))
    plan.write(settings.paths.plan, "of something else")
    return settings


@pytest.fixture
def run(settings):
    """A run in which the last chunk's cutouts are under way, at the time 10,000."""
    paths = settings.paths
    for number, (chunk, bricks) in enumerate(CHUNKS.items()):
        write_manifest(paths.manifest("parent", chunk), {brick: done(50) for brick in bricks})
        table(paths.parent(chunk))
        end_job(paths, "parent", chunk, 9000 + 10 * number, 10)
    entries = {"1500p022": done(50), "1502p022": done(40, missing_bands="z")}
    write_manifest(paths.manifest("cutouts", "16-000001"), entries)
    end_job(paths, "cutouts", "16-000001", 9500, 100)
    entries = {"1505p022": done(0), "1507p022": failure("1507p022", transient=True)}
    write_manifest(paths.manifest("cutouts", "16-000002"), entries)
    end_job(paths, "cutouts", "16-000002", 9600, 100)
    at(paths.log("cutouts", "16-000003"), 9990, "12:00:00 cutouts: 1/3 in 00:20, 00:40 left\n")
    table(paths.cutouts("1510p022"))
    table(paths.scores("16-000001"))
    end_job(paths, "scores", "16-000001", 9700, 50)
    return settings


def test_stages_are_counted(run):
    status = read_status(run, now=10_000)
    keys = ("chunks_done", "done", "empty", "failed", "to_do", "galaxies")
    counts = {name: tuple(stage[key] for key in keys) for name, stage in status["stages"].items()}
    assert counts == {
        "parent": (3, 7, 0, 0, 0, 350),
        # A file of the chunk under way counts, with the galaxies of its parent sample.
        "cutouts": (2, 3, 1, 1, 2, 140),
        "scores": (1, 2, 0, 0, 5, 90),
        "mosaics": (0, 0, 0, 0, 7, 0),
    }
    assert (status["chunks"], status["bricks"]) == (3, 7)
    assert (status["state"], status["last_write_s"]) == ("running", 10)
    assert status["skipped"] == {"empty": 1, "lacking_bands": {"z": 1}}
    assert status["at_work"] == [
        {
            "rule": "cutouts",
            "name": "16-000003",
            "line": "12:00:00 cutouts: 1/3 in 00:20, 00:40 left",
        }
    ]


def test_no_mosaics_where_none_are_drawn(run):
    settings = load_settings(CONFIG | {"mosaics": {"per_brick": False}})
    assert list(read_status(settings)["stages"]) == ["parent", "cutouts", "scores"]


def test_cutouts_of_a_chunk_that_has_not_begun_do_not_count(run):
    run.paths.log("cutouts", "16-000003").unlink()
    assert read_status(run)["stages"]["cutouts"]["to_do"] == 3


def test_speed_and_time_left(run):
    status = read_status(run, now=10_000)
    stages = status["stages"]
    assert stages["cutouts"]["bricks_per_s"] == pytest.approx(4 / 200)
    assert stages["cutouts"]["galaxies_per_s"] == pytest.approx(90 / 200)
    assert stages["cutouts"]["measured_on_chunks"] == 2
    assert stages["scores"]["galaxies_per_s"] == pytest.approx(90 / 50)
    assert stages["mosaics"]["galaxies_per_s"] is None
    # Two bricks left to cut take 100 s, five to score 125 s, side by side.
    assert (status["slowest"], status["time_left_s"]) == ("scores", 125)
    assert status["speed_not_known"] == ["mosaics"]
    text = format_status(status)
    assert "about 2 min: 5 bricks of scores, the slowest stage, at 0.04 per second" in text
    assert "plus mosaics, whose speed is not known yet" in text


def test_a_night_in_which_nothing_ran_does_not_count(settings):
    paths, day = settings.paths, 86_400
    for number, (chunk, bricks) in enumerate(CHUNKS.items()):
        write_manifest(paths.manifest("cutouts", chunk), {brick: done(10) for brick in bricks})
        end_job(paths, "cutouts", chunk, 1000 + day * number, 20)
    speed = read_status(settings)["stages"]["cutouts"]
    assert speed["galaxies_per_s"] == pytest.approx(70 / 60)


def test_jobs_side_by_side_share_the_time(settings):
    paths = settings.paths
    for number, (chunk, bricks) in enumerate(CHUNKS.items()):
        write_manifest(paths.manifest("cutouts", chunk), {brick: done(10) for brick in bricks})
        end_job(paths, "cutouts", chunk, 1000 + number, 100)
    speed = read_status(settings)["stages"]["cutouts"]
    assert speed["galaxies_per_s"] == pytest.approx(70 / 102)


def test_only_the_last_hour_counts(settings):
    paths = settings.paths
    names = [f"16-{number:06d}" for number in range(20)]
    rows = [(name, f"15{number:02d}p022", "south") for number, name in enumerate(names)]
    plan = Plan.of(pd.DataFrame(rows, columns=["chunk", "brick", "region"]))
    plan.write(paths.plan, "")
    for number, (name, brick, _) in enumerate(rows):
        # One in 300 s, then one in 600 s.
        end = 300 * number if number < 8 else 300 * 7 + 600 * (number - 7)
        write_manifest(paths.manifest("cutouts", name), {brick: done(30)})
        end_job(paths, "cutouts", name, 5000 + end, 300 if number < 8 else 600)
    speed = read_status(settings)["stages"]["cutouts"]
    assert speed["galaxies_per_s"] == pytest.approx(30 / 600)
    assert speed["measured_on_chunks"] == 10


def test_time_left_is_not_known_without_a_chunk(settings):
    at(settings.paths.log("parent", "16-000001"), 9990, "12:00:00 parent sample: 0/2\n")
    status = read_status(settings, now=10_000)
    assert status["time_left_s"] is None
    assert "not known yet" in format_status(status)


def test_failures_are_grouped_and_retried(run):
    entries = {"1505p022": failure("1505p022"), "1507p022": failure("1507p022")}
    write_manifest(run.paths.manifest("cutouts", "16-000002"), entries)
    status = read_status(run, configs=["my run.yaml"], now=10_000)
    reason = "survey/coadd/<AAA>/<brick>/legacysurvey-<brick>-image-r.fits.fz: truncated"
    assert status["failed"] == [
        {
            "stage": "cutouts",
            "reason": reason,
            "transient": False,
            "n_bricks": 2,
            "first_bricks": ["1505p022", "1507p022"],
        }
    ]
    again = "snakemake --cores N --configfile 'my run.yaml'"
    assert status["retry_transient"] is None
    assert status["retry_all"] == f"{again} --config 'failures={{retry: all}}'"
    entries["1507p022"] = failure("1507p022", transient=True)
    write_manifest(run.paths.manifest("cutouts", "16-000002"), entries)
    status = read_status(run, configs=["my run.yaml"], now=10_000)
    assert [(group["transient"], group["n_bricks"]) for group in status["failed"]] == [
        (False, 1),
        (True, 1),
    ]
    assert status["retry_transient"] == again
    text = format_status(status)
    assert "1 (1507p022), retried by any later run" in text
    assert "1 (1505p022), not retried automatically" in text
    assert f"all failed bricks, and no others, once the run has ended: {again}" in text
    at(run.paths.summary, 9999)
    text = format_status(read_status(run, configs=["my run.yaml"], now=10_000))
    assert f"transient failures: {again}" in text
    assert f"all failed bricks, and no others: {again}" in text


def test_a_failure_belongs_to_the_first_stage_that_has_it(run):
    for stage in ("parent", "cutouts", "mosaics"):
        entries = {"1500p022": failure("1500p022"), "1502p022": done(40)}
        write_manifest(run.paths.manifest(stage, "16-000001"), entries)
    chunk = read_chunks(run.paths)["16-000001"]
    assert chunk.failed["1500p022"][0] == "parent"
    assert sum(group["n_bricks"] for group in read_status(run)["failed"]) == 2


def test_a_run_that_has_not_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run tiny: not begun, nor planned"
    assert lines[1].split(maxsplit=1) == ["begin", "snakemake --cores N"]
    assert not (tmp_path / "results").exists()


def test_a_run_that_is_planned(settings):
    text = format_status(read_status(settings))
    assert text.splitlines()[0] == "run tiny: not begun; 7 bricks in 3 chunks planned"


def test_running_stopped_and_done(run):
    assert read_status(run, now=9990 + 599)["state"] == "running"
    status = read_status(run, now=9990 + 601)
    assert status["state"] == "stopped"
    assert status["at_work"] == []
    assert "seems to have stopped, last write 10 min ago" in format_status(status)
    assert "continue     snakemake --cores N --configfile CONFIG" in format_status(status)
    at(run.paths.summary, 9991)
    at(run.paths.log("summary"), 9992, "12:00:00 run tiny: done\n")
    assert read_status(run, now=9993)["state"] == "done"
    # Something was asked for after the run was done.
    at(run.paths.log("brick_cutouts", "150-1500p022"), 12_000, "12:00:00 \n")
    assert read_status(run, now=12_001)["state"] == "running"
    assert read_status(run, now=13_001)["state"] == "done"
    at(run.paths.benchmark("brick_cutouts", "150-1500p022"), 12_001, "s\tmax_rss\n1\t1\n")
    assert read_status(run, now=12_002)["state"] == "done"


def test_jobs_that_failed(run):
    lines = "12:00:00 begun\n12:00:01 lenspipe: error: a.fits: torn; mend it\n"
    lines += "12:00:01 lenspipe: error: b.fits: torn; mend it\n"
    at(run.paths.log("cutouts", "16-000003"), 9990, lines)
    status = read_status(run, now=10_000)
    (job,) = status["failed_jobs"]
    assert job["errors"] == ["a.fits: torn; mend it", "b.fits: torn; mend it"]
    assert status["at_work"] == []
    expected = "cutouts 16-000003: a.fits: torn; mend it (and 1 more); a later run tries again"
    assert expected in format_status(status)
    # It has ended well since.
    at(run.paths.benchmark("cutouts", "16-000003"), 9995, "s\tmax_rss\n1\t1\n")
    assert read_status(run, now=10_000)["failed_jobs"] == []


def test_the_page_stands_for_itself(run):
    rows = [(b, 150 + 0.25 * i, 2.25, c) for i, (c, bs) in enumerate(CHUNKS.items()) for b in bs]
    bricks = pd.DataFrame(rows, columns=["brick", "ra", "dec", "chunk"])
    bricks.to_parquet(run.paths.bricks)
    status = write_status_page(run, "status.html")
    with open("status.html") as handle:
        page = handle.read()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "&lt;brick&gt;" in page
    assert f"<td>{status['stages']['parent']['galaxies']}</td>" in page
    run.paths.bricks.unlink()
    write_status_page(run, "status.html")
    with open("status.html") as handle:
        assert "<img" not in handle.read()


@pytest.mark.parametrize("options", [[], ["--json"], ["--html", "page.html"]])
def test_the_command_changes_nothing_in_the_run(run, options, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/*")}
    assert before
    assert main(["status", "my run.yaml", *options]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/**/*")} == before
    output = capsys.readouterr().out
    if options == ["--json"]:
        assert json.loads(output)["bricks"] == 7
    else:
        assert output.startswith("run tiny: ")
    assert (tmp_path / "page.html").exists() == ("--html" in options)


def test_json_and_a_page_at_once_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        main(["status", "my run.yaml", "--json", "--html", "page.html"])
    assert "not allowed with" in capsys.readouterr().err


def test_long_times_are_said_in_days(run):
    status = read_status(run, now=time.time()) | {"state": "running", "time_left_s": 200_000}
    assert "about 2 d 8 h" in format_status(status)
    assert "about 2 h 13 min" in format_status(status | {"time_left_s": 8000})
