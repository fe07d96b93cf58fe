"""What steps are made from, as files: settings and lists, and the files of all chunks."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lenspipe.config.settings import Settings
from lenspipe.products.files import write_json
from lenspipe.products.plan import read_plan
from lenspipe.utils.hashing import file_hash

__all__ = ["write_basis", "write_chunks"]


def write_basis(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    files: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Write settings (plain values) and the SHA-256 of the files that a step reads as JSON."""
    sums = {str(file): file_hash(file) for file in files}
    write_json(path, {"settings": settings, "files": sums}, sort_keys=True)


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
