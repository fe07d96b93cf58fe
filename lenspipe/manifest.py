"""Manifests: what a stage has done for each brick of a chunk, and what has failed."""

import csv
import json
from pathlib import Path

from filelock import FileLock

from lenspipe.paths import atomic

__all__ = ["read_manifest", "reopen", "update_manifest", "what_failed", "write_manifest"]

#: Of so many failed bricks the last lines of a run give the reason.
_SHOWN = 3


def read_manifest(path):
    """Read a manifest.

    Parameters
    ----------
    path : str or path-like
        JSON file; one that does not exist reads as empty.

    Returns
    -------
    dict
        Brick name -> ``{"status": str, "count": int, "hash": str, ...}``.
    """
    path = Path(path)
    return json.loads(path.read_text()) if path.exists() else {}


def write_manifest(path, entries):
    """Write a manifest anew.

    Parameters
    ----------
    path : str or path-like
        JSON file.
    entries : dict
        Brick name -> entry.
    """
    with _lock(path):
        _write(path, entries)


def update_manifest(path, entries):
    """Change some bricks' entries of a manifest, safe against other processes doing the same.

    A manifest that does not exist is left so: its chunk's own job will write all of it.

    Parameters
    ----------
    path : str or path-like
        JSON file.
    entries : dict
        Brick name -> entry.
    """
    with _lock(path):
        before = read_manifest(path)
        if Path(path).exists() and before | entries != before:
            _write(path, before | entries)


def reopen(settings, chunks):
    """Make a run try bricks again that failed in an earlier one.

    Which ones, ``failures.retry`` says; with ``failures.strict`` all of them, also of a run that
    has not ended. The outputs that lack such bricks are deleted, and so is the summary, so that
    Snakemake makes them again; each brick that is done is kept.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunks : iterable of str
    """
    paths = settings.paths
    wanted = "all" if settings.failures.strict else settings.failures.retry
    if wanted == "none" or not (settings.failures.strict or paths.summary.exists()):
        return
    if paths.summary.exists():
        summary = json.loads(paths.summary.read_text())
        if not summary.get("n_bricks_failed" if wanted == "all" else "n_bricks_to_retry"):
            return

    def lacks(entry):
        return entry["status"] == "failed" and (wanted == "all" or entry.get("passing"))

    for chunk in chunks:
        outputs = {
            "parent": (paths.parent(chunk), paths.parent_audit(chunk)),
            "cutouts": (paths.manifest("cutouts", chunk),),
        }
        lacking = [
            path
            for stage, made in outputs.items()
            if any(map(lacks, read_manifest(paths.manifest(stage, chunk)).values()))
            for path in made
        ]
        for path in lacking:
            path.unlink(missing_ok=True)
    paths.summary.unlink(missing_ok=True)


def what_failed(settings):
    """Say which bricks a run that has ended could not search, and how to try them again.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    str
        A few lines; empty if no brick failed.
    """
    paths = settings.paths
    with open(paths.missing, newline="") as handle:
        rows = list(csv.DictReader(handle))
    if not rows:
        return ""
    number = json.loads(paths.summary.read_text())["n_bricks"]
    lines = [
        f"{len(rows)} of {number} bricks failed, listed in {paths.missing}; the run is done "
        "without them."
    ]
    lines += [f"  brick {row['brick']}: {row['reason']}" for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines += ["  ..."]
    passing = sum(row["passing"] == "True" for row in rows)
    again = {"passing": passing, "all": len(rows), "none": 0}[settings.failures.retry]
    if again:
        lines += [f"The same command, started again, tries {again} of them again."]
    if again < len(rows):
        lines += ["With --config 'failures={retry: all}' it tries all of them, and no others."]
    return "\n".join(lines)


def _lock(path):
    """Lock beside the manifests; the operating system frees it when its holder dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"))


def _write(path, entries):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
