"""Runs that many tests ask for: each is drawn once in a process, and written from memory."""

import functools
import tempfile
from pathlib import Path


@functools.cache
def drawn(draw, *arguments):
    """Contents of the files of a run by their relative paths, and what else `draw` returns.

    It is given a folder and the arguments, once for the same ones, and returns the run's own folder
    below it and a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        root, result = draw(Path(folder), *arguments)
        paths = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root): path.read_bytes() for path in paths}, result


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
