"""What a step is made from, as a file."""

import hashlib
import json
from pathlib import Path

from lenspipe.utils.files import atomic

__all__ = ["write_basis"]


def write_basis(path, settings, files=()):
    """Write settings and the content of files, in short, as JSON.

    Parameters
    ----------
    path : str or path-like
    settings : dict
        Plain values.
    files : iterable of str or path-like
        Files that the step reads; of each the SHA-256 is kept.
    """
    sums = {str(file): hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    content = {"settings": settings, "files": sums}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
