"""Manifests: what a stage has done for each brick of a chunk, and what has failed."""

import json
from collections import Counter
from pathlib import Path

from filelock import FileLock

from lenspipe.utils.errors import LenspipeError, RetrievalError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["failed_entries", "failure_in", "read_manifest", "update_manifest", "write_manifest"]


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


def _lock(path):
    """Lock beside the manifests; the operating system frees it when its holder dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"))


def _write(path, entries):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")


def failed_entries(settings, failures):
    """Turn failures into entries of a manifest, and say in the log what is left out.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    failures : dict
        Brick -> `LenspipeError`.

    Returns
    -------
    dict
        Brick -> entry: status ('failed'), count, hash, reason and, where a server did not give
        what the brick needs, transient (bool).

    Raises
    ------
    LenspipeError
        There are failures and ``failures.strict`` is set; a line for each reason.
    """
    first = {str(error): brick for brick, error in reversed(failures.items())}
    problems = []
    for reason, number in Counter(map(str, failures.values())).items():
        more = f" and {number - 1} more" if number > 1 else ""
        problems.append(f"brick {first[reason]}{more}: {reason}")
    if problems and settings.failures.strict:
        advice = "to go on without these bricks set config key failures.strict: false"
        raise LenspipeError("\n".join([*problems, advice]))
    for problem in problems:
        log.info("left out: %s", problem)
    return {
        brick: {"status": "failed", "count": 0, "hash": "", "reason": str(error)}
        | ({"transient": error.transient} if isinstance(error, RetrievalError) else {})
        for brick, error in failures.items()
    }


def failure_in(entry):
    """Turn an entry of a manifest back into the error that it tells of.

    Parameters
    ----------
    entry : dict

    Returns
    -------
    LenspipeError or None
        None if the status is another than 'failed'.
    """
    if entry.get("status") != "failed":
        return None
    if "transient" in entry:
        return RetrievalError(entry["reason"], entry["transient"])
    return LenspipeError(entry["reason"])
