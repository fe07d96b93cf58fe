"""The plan of a run, made when the Snakefile is read.

Every job of a cluster reads the Snakefile again, so this module imports nothing heavy; the code
that makes the plan is imported only if there is no plan yet. Run as a program, it makes the plan of
the pickled settings on its standard input.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from lenspipe.catalogs.versions import hash_list, list_version
from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.products.plan import Plan
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.hashing import file_hash

__all__ = ["load_plan", "load_plan_apart"]


def load_plan(settings: Settings) -> Plan:
    """Return the bricks of each chunk from the run's plan, which is made if it is out of date.

    Raises
    ------
    LenspipeError
        As in `lenspipe.footprint.select.select_bricks`.
    """
    path, key = settings.paths.plan, _plan_key(settings)
    plan = Plan.read(path, key)
    if plan is None:
        from lenspipe.footprint.select import select_bricks

        plan = Plan.of(select_bricks(settings))
        plan.write(path, key)
    return plan


def load_plan_apart(settings: Settings) -> Plan:
    """Do as `load_plan`, but make the plan in a process of its own.

    The tables of all bricks and the libraries that read them take 200 MB, which Python would not
    give back; in Snakemake's process they would add to the memory of the graph.
    """
    plan = Plan.read(settings.paths.plan, _plan_key(settings))
    if plan is None:
        command = [sys.executable, "-m", "lenspipe.footprint.plan"]
        result = subprocess.run(command, input=pickle.dumps(settings), stdout=subprocess.PIPE)
        if result.returncode and result.stdout:
            raise LenspipeError(result.stdout.decode())
        result.check_returncode()
        plan = load_plan(settings)
    return plan


def _hash_file(path: str) -> str | None:
    """Hash a file of the footprint; one that cannot be read is an error where it is needed."""
    file = Path(path)
    return file_hash(file) if file.is_file() else None


def _plan_key(settings: Settings) -> str:
    """Hash everything that the plan is made from; of a remote survey only its address."""
    stats: list[os.stat_result] = []
    lists: list[Any] = []
    if not settings.simulation and not is_remote(settings.survey_paths.tree):
        bricks = settings.survey_paths.bricks
        paths = [Path(bricks(region)) for region in settings.release.regions]
        stats = [path.stat() for path in paths if path.exists()]
    if settings.targets:
        lists = [hash_list(settings.targets, "targets")]
    lists += [_hash_file(path) for path in settings.footprint.files]
    if settings.footprint.known_lenses:
        sample = settings.sample
        lists += [*sample.known_lenses, sample.grades, sample.merge_radius_arcsec]
        lists += [list_version(catalogue.path) for catalogue in sample.known_lenses]
    times = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    return content_key("plan", settings, times, *lists)


if __name__ == "__main__":
    try:
        load_plan(pickle.load(sys.stdin.buffer))
    except LenspipeError as error:
        print(error, end="")
        sys.exit(1)
