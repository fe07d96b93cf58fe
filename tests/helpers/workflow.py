"""Runs of the real workflow in a folder with a configuration of its own."""

import atexit
import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
#: Settings of a small network.
NETWORK = {"widths": [8, 16], "units": 1, "stem_filters": 8, "stem_stride": 3, "crop": 51}


#: Whether jobs are forked from one process. None could use a GPU that this process has opened.
FORKED = not Path("/dev/nvidia0").exists()


def options(folder, *arguments):
    """Arguments of Snakemake for a run in a folder."""
    return [
        *(*arguments, "--cores", "2"),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)),
        *("--workflow-profile", str(REPOSITORY / "profiles" / "default")),
        *("--configfile", str(folder / "config.yaml")),
    ]


def command(folder, *arguments):
    """Command line of a run."""
    return [sys.executable, "-m", "snakemake", *options(folder, *arguments)]


@functools.cache
def server():
    """The process from which `run` forks; it ends with this one."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("snakemake_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    atexit.register(process.communicate)
    return process


def run(folder, *arguments, fails=False, forked=FORKED):
    """Run the workflow, and return its output.

    It is forked from `server` or, as users run it, started with a new Python for each job.
    """
    path = folder / "snakemake.txt"
    if forked:
        process = server()
        request = [options(folder, *arguments), str(folder), str(path)]
        process.stdin.write(json.dumps(request) + "\n")
        status = int(process.stdout.readline())
    else:
        with path.open("wb") as file:
            status = subprocess.run(
                command(folder, *arguments), cwd=folder, stdout=file, stderr=file, check=False
            ).returncode
    output = path.read_text()
    assert (status != 0) == fails, output[-5000:]
    return output


def write_config(folder, config):
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def hashes(folder, pattern):
    """File -> its sum; there is one at least."""
    paths = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    assert paths, f"{folder}: no file matches {pattern}"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def times(folder):
    """FITS file -> when it was written; there is one at least."""
    paths = list(folder.rglob("*.fits"))
    assert paths, f"{folder}: no FITS file"
    return {path: path.stat().st_mtime_ns for path in paths}
