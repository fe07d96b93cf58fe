"""What stages are made from: settings, the content of files, and the files of all chunks."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenspipe import __version__
from lenspipe.config.settings import Settings
from lenspipe.products.files import write_json
from lenspipe.products.plan import read_plan
from lenspipe.utils.files import read_kept
from lenspipe.utils.hashing import digest, file_hash

__all__ = ["content_hashes", "made_with", "write_basis", "write_chunks"]


def made_with(settings: Settings) -> dict[str, str]:
    """Return keywords of a header that say what made a file.

    Run, version of lenspipe, and the first 16 digits of hashes of the model (its SHA-256) and of
    all settings.
    """
    return {
        "RUN": settings.run,
        "LPVERS": __version__,
        **({"LPMODEL": file_hash(settings.model_path)[:16]} if settings.has_model else {}),
        "LPCONFIG": digest(settings),
    }


def content_hashes(files: Iterable[Path], cache: Path) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of files that the user gives, as a parameter of a rule.

    A file is read again only where its size, inode or time of change (of its content or of its
    place, `st_ctime`) is another than when it was last read.

    Parameters
    ----------
    cache
        JSON file that keeps the hashes.

    Returns
    -------
    dict
        ``{"files": {path: hash}}``; empty without files. A file that does not exist is left out:
        Snakemake reports it.
    """
    files = [path for path in files if path.exists()]
    if not files:
        return {}
    known, hashes = read_kept(cache) or {}, {}
    for path in files:
        status = path.stat()
        state = [status.st_size, status.st_ino, status.st_ctime_ns]
        if known.get(str(path), [None])[:-1] != state:
            known[str(path)] = [*state, file_hash(path)]
            write_json(cache, known, sort_keys=True)
        hashes[str(path)] = known[str(path)][-1]
    return {"files": hashes}


def write_basis(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    files: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Write the parameters of a stage, and the SHA-256 of files that it reads, as JSON."""
    sums = settings.get("files", {}) | {str(file): file_hash(file) for file in files}
    values = {key: value for key, value in settings.items() if key != "files"}
    write_json(path, {"settings": values, "files": sums}, sort_keys=True)


def write_chunks(settings: Settings) -> None:
    """Write hashes of each chunk's files, the input of stages that look at all chunks.

    ``manifests/chunks.json`` holds chunk -> SHA-256 of its parent sample, manifest of cutouts and
    scores. It stays the same where a chunk is made again with the same result.
    """
    paths, hashes = settings.paths, {}
    for chunk in read_plan(paths.plan):
        content = hashlib.sha256()
        for path in (paths.parent(chunk), paths.manifest("cutouts", chunk), paths.scores(chunk)):
            content.update(bytes.fromhex(file_hash(path)))
        hashes[chunk] = content.hexdigest()
    write_json(paths.chunks, hashes, sort_keys=True)
