"""The real workflow through a real Slurm of one node: docs/clusters.md.

Needs root, Debian's slurmctld, slurmd, slurm-client and munge, and no other Slurm's configuration.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from filelock import FileLock, Timeout
from helpers.workflow import NETWORK, REPOSITORY, command, run

from lenspipe.models.registry import build
from lenspipe.products.cutouts import read_cutouts

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

DEFAULT = REPOSITORY / "profiles" / "default"
PROFILE = REPOSITORY / "workflow" / "profiles" / "slurm"
SCRIPT = REPOSITORY / "tests" / "helpers" / "single-node-slurm.sh"
STATE = Path("/run/lenspipe-slurm")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")


def squeue():
    """Jobs that Slurm holds, pending or running."""
    output = subprocess.run(
        ["squeue", "--noheader", "--format=%i %T"], capture_output=True, text=True, check=True
    ).stdout
    return [line.split() for line in output.splitlines()]


def ended():
    """Slurm's own record: number of a job -> its state at the end and the memory it asked for."""
    records = re.findall(
        r"^JobId=(\d+) .*JobState=(\w+) .*Tres=cpu=\d+,mem=(\w+)",
        (STATE / "finished.txt").read_text(),
        re.MULTILINE,
    )
    return {number: (state, memory) for number, state, memory in records}


def submitted(output):
    """Rule -> numbers of its jobs, as Snakemake says."""
    jobs = {}
    pattern = r"submitted with SLURM jobid (\d+) \(log: \S*/rule_(\w+)/"
    for number, rule in re.findall(pattern, output):
        jobs.setdefault(rule, []).append(number)
    return jobs


#: Snakemake, but for how often it looks at its jobs: each time that it finds none ended, the plugin
#: looks ten seconds later than before, which for jobs of a few seconds is most of the time.
IMPATIENT = """
import asyncio
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.sleep = lambda self: asyncio.sleep(0.5)
main()
"""


def through_slurm(folder, *arguments):
    """Command for a run whose jobs all go to Slurm, looked at twice a second."""
    whole = command(folder, *arguments)
    assert whole[1:3] == ["-m", "snakemake"]
    return [
        *(whole[0], "-c", IMPATIENT),
        *("--slurm-init-seconds-before-status-checks", "1", *whole[3:]),
        *("--workflow-profile", str(PROFILE)),
    ]


def start(folder, *arguments):
    """Start such a run; its output is in the file `slurm.txt`."""
    with (folder / "slurm.txt").open("w") as output:
        return subprocess.Popen(
            through_slurm(folder, *arguments),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A process in the background of a script, as pytest may be, hands on to ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def finish(folder, process):
    """Wait for a run that ends well; return its output."""
    code = process.wait(600)
    output = (folder / "slurm.txt").read_text()
    assert code == 0, output[-5000:]
    return output


def wait_for(condition, process, seconds=120):
    """Wait until something has come true while a run goes on."""
    begin = time.monotonic()
    while not (found := condition()):
        assert process.poll() is None
        assert time.monotonic() - begin < seconds
        time.sleep(0.1)
    return found


def processes_of(number):
    """Processes of a job of Slurm."""
    output = subprocess.run(["scontrol", "listpids", number], capture_output=True, text=True)
    return {int(line.split()[0]) for line in output.stdout.splitlines()[1:]}


def command_of(pid):
    """Command line of a process, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


@pytest.fixture(scope="module")
def slurm():
    """A Slurm of this module's own; sessions on one machine take turns."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install 'lenspipe[slurm]'")
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.getuid() != 0:
        pytest.skip("only root may start a Slurm")
    try:
        with FileLock(STATE.with_suffix(".lock"), timeout=900):
            up = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
            if up.returncode == 3:
                pytest.skip(up.stderr.strip())
            assert up.returncode == 0, up.stderr
            yield
            subprocess.run([SCRIPT, "down"], check=True)
    except Timeout:
        pytest.skip("another session has its Slurm on this machine")


@pytest.fixture(scope="module")
def finished(slurm, small_survey, tmp_path_factory):
    """Folder of a search with a given model that went through Slurm, with its output."""
    folder = tmp_path_factory.mktemp("slurm")
    build("cmu_deeplens", **NETWORK).save(folder / "given.keras")
    config = {
        "run": "few",
        "survey": {"release": "dr9", "tree": str(small_survey.tree)},
        "chunks": {"nside": 4},
        "parent": {"min_exposures": 1},
        "inference": {"model": "given.keras", "backend": "tensorflow"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    # A job of Slurm starts three Pythons, so what lists the survey and what describes the run do it
    # here, and only the last one goes to Slurm as well.
    run(folder, "results/few/bricks.parquet", "results/few/known/lenses.parquet")
    output = finish(folder, start(folder, "results/few/mosaics/pages.json"))
    run(folder)
    summary = folder / "results" / "few" / "summary.json"
    summary.unlink()
    output += finish(folder, start(folder, "results/few/summary.json"))
    (folder / "output.txt").write_text(output)
    return folder


@pytest.fixture
def results(finished):
    return finished / "results" / "few"


def test_the_profile_has_all_that_the_default_one_has():
    default, slurm = (
        yaml.safe_load((folder / "config.yaml").read_text()) for folder in (DEFAULT, PROFILE)
    )
    assert default.items() <= slurm.items()


def test_a_whole_run_goes_through_slurm(finished, results):
    assert json.loads((results / "summary.json").read_text())["n_bricks"] == 8
    jobs = submitted((finished / "output.txt").read_text())
    stages = {"parent", "cutouts", "records", "scores", "candidates", "mosaics", "summary"}
    assert stages <= set(jobs)
    assert "basis" not in jobs
    assert {ended()[number] for number in jobs["cutouts"]} == {("COMPLETED", "2000M")}
    assert {ended()[number][0] for numbers in jobs.values() for number in numbers} == {"COMPLETED"}
    # Logs of jobs that ended well are removed.
    assert (finished / ".snakemake").is_dir()
    assert not list((finished / ".snakemake" / "slurm_logs").rglob("*.log"))


def test_one_brick_is_restored_through_slurm(finished, results, small_survey):
    brick = small_survey.bricks[1]
    cutouts = results / "cutouts" / brick[:3] / f"{brick}.fits"
    catalog = read_cutouts(cutouts)[1]
    cutouts.unlink()
    target = f"results/few/mosaics/bricks/{brick}.png"
    jobs = submitted(finish(finished, start(finished, target)))
    assert set(jobs) == {"brick_cutouts", "brick_scores", "brick_mosaic"}
    pd.testing.assert_frame_equal(read_cutouts(cutouts)[1], catalog)


def test_a_job_that_exceeds_its_memory_is_submitted_again_with_more(finished, results):
    (manifest,) = (results / "manifests" / "cutouts").glob("*.json")
    before = manifest.read_bytes()
    memory = "cutouts:mem_mb=50 * 40 ** (attempt - 1)"
    arguments = [str(manifest.relative_to(finished)), "--forcerun", "cutouts"]
    output = finish(finished, start(finished, *arguments, "--set-resources", memory))
    first, second = submitted(output)["cutouts"]
    assert ended()[first][0] != "COMPLETED"
    assert ended()[first][1] == "50M"
    assert ended()[second] == ("COMPLETED", "2000M")
    log = next((finished / ".snakemake" / "slurm_logs" / "rule_cutouts").rglob(f"{first}.log"))
    assert "exceeded" in log.read_text()
    assert manifest.read_bytes() == before


def test_a_killed_job_is_done_again(finished, results):
    (path,) = (results / "scores").glob("*.parquet")
    scores = pd.read_parquet(path)
    log = results / "logs" / "scores" / f"{path.stem}.log"
    log.unlink()
    target = str(path.relative_to(finished))
    process = start(finished, target, "--forcerun", "scores")
    wait_for(log.exists, process)
    (number,) = submitted((finished / "slurm.txt").read_text())["scores"]
    for pid in processes_of(number):
        if any(part.endswith(".stage.py") for part in command_of(pid)):
            os.kill(pid, signal.SIGKILL)
    first, second = submitted(finish(finished, process))["scores"]
    assert first == number
    assert ended()[first][0] == "FAILED"
    assert ended()[second] == ("COMPLETED", "8000M")
    pd.testing.assert_frame_equal(pd.read_parquet(path), scores)


@pytest.fixture
def occupied(slurm):
    """Number of a job that has the whole node, so that all others wait."""
    sbatch = ["sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"]
    number = subprocess.run(sbatch, capture_output=True, text=True, check=True).stdout.strip()
    wait = time.monotonic() + 60
    while dict(squeue()).get(number) != "RUNNING":
        assert time.monotonic() < wait
        time.sleep(0.1)
    yield number
    subprocess.run(["scancel", number], check=True)


def test_interrupting_the_run_cancels_what_is_queued(finished, occupied):
    # Jobs whose state is being looked up, and those that are being submitted, are unknown to
    # Snakemake for a moment, in which an interruption does not cancel them.
    later = ["--slurm-init-seconds-before-status-checks", "15"]
    process = start(finished, "--forcerun", "audit", "cutouts", *later)

    def queued():
        jobs = submitted((finished / "slurm.txt").read_text())
        return [*jobs["audit"], *jobs["cutouts"]] if {"audit", "cutouts"} <= set(jobs) else None

    numbers = wait_for(queued, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    wait = time.monotonic() + 20
    while len(squeue()) > 1 and time.monotonic() < wait:
        time.sleep(0.1)
    assert squeue() == [[occupied, "RUNNING"]]
    assert {ended()[number][0] for number in numbers} == {"CANCELLED"}
