"""The basis of a step: settings and lists from which it is made, as a file."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenspipe.products.files import write_json

__all__ = ["write_basis", "write_chunks"]


def write_basis(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    files: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Write settings and the SHA-256 of files as JSON.

    Parameters
    ----------
    settings
        Plain values.
    files
        Files that the step reads.
    """
    sums = {str(file): hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    write_json(path, {"settings": settings, "files": sums}, sort_keys=True)
