"""Manifests: the outcome of a stage for each brick of a chunk, and the reasons of failures."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from lenspipe.products.files import read_json, write_json
from lenspipe.utils.errors import LenspipeError, RetrievalError
from lenspipe.utils.progress import log

__all__ = [
    "failed_entries",
    "failure_in",
    "read_manifest",
    "read_manifests",
    "update_manifest",
    "write_manifest",
]

#: Brick -> entry.
Entries = dict[str, dict[str, Any]]


def read_manifest(path: str | os.PathLike[str]) -> Entries:
    """Read a manifest, brick -> ``{"status": str, "count": int, "hash": str, ...}``.

    One that does not exist reads as empty.

    Raises
    ------
    LenspipeError
        It is damaged.
    """
    path = Path(path)
    return read_json(path, "manifest") if path.exists() else {}


def read_manifests(paths: Iterable[str | os.PathLike[str]]) -> Entries:
    """Read the manifests of several chunks as one."""
    entries: Entries = {}
    for path in paths:
        entries |= read_manifest(path)
    return entries


def write_manifest(path: str | os.PathLike[str], entries: Entries) -> None:
    """Write a manifest anew."""
    with _lock(path):
        write_json(path, dict(sorted(entries.items())))


def update_manifest(path: str | os.PathLike[str], entries: Entries) -> None:
    """Change the entries of some bricks, safely if other processes do the same.

    A manifest that does not exist is not created: the job of its chunk will write all of it.
    """
    with _lock(path):
        before = read_manifest(path)
        if Path(path).exists() and before | entries != before:
            write_json(path, dict(sorted((before | entries).items())))


def _lock(path: str | os.PathLike[str]) -> FileLock:
    """Lock beside a manifest; the operating system releases it when its holder dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"))


def failed_entries(failures: Mapping[str, LenspipeError], strict: bool) -> Entries:
    """Turn failures into entries of a manifest, and note in the log what is left out.

    Parameters
    ----------
    failures
        Brick -> error.
    strict
        ``failures.strict``: whether failures are an error.

    Returns
    -------
    dict
        Brick -> entry: status ('failed'), count, hash, reason and, if a server did not deliver
        what the brick needs, transient (bool).

    Raises
    ------
    LenspipeError
        There are failures and `strict` is set; a line for each reason.
    """
    first = {str(error): brick for brick, error in reversed(list(failures.items()))}
    problems = []
    for reason, number in Counter(map(str, failures.values())).items():
        more = f" and {number - 1} more" if number > 1 else ""
        problems.append(f"brick {first[reason]}{more}: {reason}")
    if problems and strict:
        advice = "to continue without these bricks set config key failures.strict: false"
        raise LenspipeError("\n".join([*problems, advice]))
    for problem in problems:
        log.info("left out: %s", problem)
    return {
        brick: {"status": "failed", "count": 0, "hash": "", "reason": str(error)}
        | ({"transient": error.transient} if isinstance(error, RetrievalError) else {})
        for brick, error in failures.items()
    }


def failure_in(entry: Mapping[str, Any]) -> LenspipeError | None:
    """Turn an entry of a manifest back into the error that it notes; None if it did not fail."""
    if entry.get("status") != "failed":
        return None
    if "transient" in entry:
        return RetrievalError(entry["reason"], entry["transient"])
    return LenspipeError(entry["reason"])
