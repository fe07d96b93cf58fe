"""Files: local paths and addresses, and the atomic write through which every file is made."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path, PurePath

from lenspipe.utils.errors import DiskFullError

__all__ = ["atomic", "is_remote", "room_to_write", "stem"]


def is_remote(path):
    """Whether a path is an address rather than a local file or folder.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    bool
    """
    return "://" in str(path)


def stem(path):
    """Name of a file, without what says its kind.

    Parameters
    ----------
    path : str
        Or an address.

    Returns
    -------
    str
    """
    return PurePath(path.partition("?")[0].removesuffix(".gz")).stem


@contextlib.contextmanager
def room_to_write(path):
    """Say in one line that a disk is full.

    Parameters
    ----------
    path : str or path-like
        What is being written.

    Raises
    ------
    DiskFullError
        Something in the block found no space left, or the user's quota exhausted.
    """
    try:
        yield
    except OSError as error:
        # astropy raises an error of its own, without a number.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "space on disk" not in str(error):
            raise
        raise DiskFullError(
            f"{path}: no space left on the disk; free some and start again: what is done is kept"
        ) from None


@contextlib.contextmanager
def atomic(path):
    """Write a file under a temporary name beside it and rename it when the block ends well.

    Parameters
    ----------
    path : str or path-like
        The final path. Its folder is made.

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
