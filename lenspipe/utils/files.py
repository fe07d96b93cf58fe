"""Files: local paths and addresses, and the atomic write through which every file is made."""

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from lenspipe.utils.errors import DiskFullError, LenspipeError
from lenspipe.utils.progress import log

__all__ = [
    "atomic",
    "expanded",
    "is_path_part",
    "is_remote",
    "path_part",
    "read_kept",
    "room_to_write",
    "stem",
]

#: Texts of errors of libraries that could not write.
_FULL = re.compile("space on disk|no space left|quota exceeded|error writing", re.IGNORECASE)

#: Bytes of a name, to which a suffix and what a temporary file adds come; file systems take 255.
_LONGEST_NAME = 200


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address rather than a local file or folder."""
    return "://" in str(path)


def expanded(path: str) -> str:
    """Replace a leading ``~`` and environment variables in a path; addresses stay as they are.

    Raises
    ------
    ValueError
        There is no such user or variable, and no such file.
    """
    if is_remote(path) or not re.search(r"[~$]", path) or os.path.exists(path):
        return path
    result = os.path.expandvars(os.path.expanduser(path))
    if result.startswith("~"):
        raise ValueError(f"{path!r}: no such user; write the folder itself")
    if unknown := re.search(r"\$(\w+|\{\w+\})", result):
        raise ValueError(f"{path!r}: no environment variable {unknown[1].strip('{}')}; set it")
    return result


def is_path_part(name: str) -> bool:
    """Whether a name can be part of a file's name without leading to another folder."""
    is_plain = not name.startswith(".") and not re.search(r"[/\\\0-\x1f\x7f]", name)
    return is_plain and 0 < len(name.encode()) <= _LONGEST_NAME


def path_part(name: str) -> str:
    """Return a name, as from a table, that is to be part of a file's or folder's name.

    Raises
    ------
    LenspipeError
        It would lead to another folder, or is no name of a file.
    """
    if not is_path_part(name):
        raise LenspipeError(
            f"found {name!r} as the name of a brick or list, expected one that can be part of a "
            "file's name: without slashes, control characters or a dot at its beginning, and of at "
            f"most {_LONGEST_NAME} bytes; rename it"
        )
    return name


def stem(path: str) -> str:
    """Return the name of a file, or of the file at an address, without its suffixes."""
    return PurePath(path.partition("?")[0].removesuffix(".gz")).stem


@contextlib.contextmanager
def room_to_write(path: str | os.PathLike[str]) -> Iterator[None]:
    """Report a full disk in one line.

    Parameters
    ----------
    path
        The file that is being written.

    Raises
    ------
    DiskFullError
        The block ran out of disk space, or the user's quota is exhausted.
    """
    try:
        yield
    except Exception as error:
        # astropy, CFITSIO and TensorFlow raise errors of their own, without a number.
        number = getattr(error, "errno", None)
        own = number is None and _FULL.search(str(error)) and not isinstance(error, LenspipeError)
        if number not in (errno.ENOSPC, errno.EDQUOT) and not own:
            raise
        raise DiskFullError(
            f"{path}: no space left on the disk; free some and start again: finished work is kept"
        ) from None


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name beside it; rename it if the block succeeds.

    Parameters
    ----------
    path
        The final path. Its folder is created.

    Yields
    ------
    pathlib.Path
        The temporary path, with the same suffixes; it does not exist yet.

    Raises
    ------
    DiskFullError
        There is no space left.
    """
    path = Path(path)
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)


def read_kept(path: Path) -> Any:
    """Read a JSON document that is kept only to save work; None if there is none or it is damaged.

    A job that was killed while a file system lost its writes may leave an empty or half a file.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        log.info("%s: can't be read (%s); made anew", path, error)
        return None
