"""Manifests: what a stage has done for each brick of a chunk."""

import json
from pathlib import Path

from filelock import FileLock

from lenspipe.paths import atomic

__all__ = ["read_manifest", "reopen", "update_manifest", "write_manifest"]


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
        if Path(path).exists():
            _write(path, read_manifest(path) | entries)


def reopen(settings, chunks):
    """Make a run that has ended ask again for what servers did not give, but might.

    The outputs that lack such bricks are deleted, and so is the summary, so that Snakemake makes
    them again; each brick that is done is kept.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunks : iterable of str
    """
    paths = settings.paths
    if not paths.summary.exists():
        return
    if not json.loads(paths.summary.read_text()).get("n_bricks_to_retry"):
        return
    for chunk in chunks:
        outputs = {
            "parent": (paths.parent(chunk), paths.parent_audit(chunk)),
            "cutouts": (paths.manifest("cutouts", chunk),),
        }
        lacking = [
            path
            for stage, made in outputs.items()
            if any(e.get("passing") for e in read_manifest(paths.manifest(stage, chunk)).values())
            for path in made
        ]
        for path in lacking:
            path.unlink(missing_ok=True)
    paths.summary.unlink()


def _lock(path):
    """Lock beside the manifests; the operating system frees it when its holder dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_suffix(".lock"))


def _write(path, entries):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
