"""Snakemake and the jobs of its runs, forked from a process that has imported what they need.

A job of the tests' small runs needs seconds to import its libraries and a fraction of one for its
work. This program imports them once. For each line of its standard input (JSON: arguments, working
directory, file for the output) it forks a process that runs Snakemake with these arguments, which
forks one for each script in place of a new Python; then it writes the exit status.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import subprocess
import sys
import traceback

import snakemake.benchmark
import snakemake.cli
from snakemake.script import PythonScript

import lenspipe
import lenspipe.footprint.plan
import lenspipe.retrieval.hosts
import lenspipe.retrieval.retry


def in_fork(function, *arguments):
    """Start a process that calls a function and ends with the status that it leaves; its id."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        status = function(*arguments) or 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_snakemake(arguments, folder, output):
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    snakemake.cli.main(arguments)


def run_script(path):
    sys.argv = [path]
    runpy.run_path(path, run_name="__main__")


def execute_script(job, path, edit=False):
    """In place of the method of Snakemake that starts a new Python."""
    pid = in_fork(run_script, path)
    with snakemake.benchmark.benchmarked(pid, job.bench_record):
        status = status_of(pid)
    if status:
        raise subprocess.CalledProcessError(status, path)


def main():
    PythonScript.execute_script = execute_script
    lenspipe.footprint.plan.load_plan_apart = lenspipe.footprint.plan.load_plan
    # The servers of the tests are on this machine and recover at once.
    lenspipe.retrieval.retry._FIRST_WAIT_S = 0.05
    lenspipe.retrieval.hosts._FIRST_PAUSE_S = 0.005
    for module in pkgutil.walk_packages(lenspipe.__path__, "lenspipe."):
        with contextlib.suppress(ImportError):  # of an optional library
            importlib.import_module(module.name)
    # Plugins, and what reads the files of rules and scripts.
    snakemake.cli.get_argument_parser()
    importlib.import_module("smart_open")
    importlib.import_module("nbformat")
    # Summing up all pages of a fork twice a second takes a tenth of the run.
    snakemake.benchmark.BENCHMARK_INTERVAL_SHORT = 5
    # The collector would look at all that is imported, and so copy it into each process.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(status_of(in_fork(run_snakemake, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
