"""A folder of fetched files of bounded size, shared by any number of processes."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

__all__ = ["Cache"]


class Cache:
    """Files by name; those not used for longest are deleted when there are too many.

    Files come in by renaming, so that one that is there is whole. One that is being read is locked
    by its reader and is not deleted; the operating system frees the lock when the reader dies. No
    other file takes its place, since coming in and deleting go under a lock of the folder.

    Parameters
    ----------
    folder : str or path-like
    limit : float
        Most bytes that all files may take, those in use aside.
    """

    def __init__(self, folder, limit):
        self.folder = Path(folder)
        self.limit = limit

    @contextlib.contextmanager
    def get(self, name, fetch):
        """Make a file available.

        Parameters
        ----------
        name : str
            What it is; an address.
        fetch : callable
            Called with a path at which it has to write the file, if that is not at hand.

        Yields
        ------
        pathlib.Path
            The file, which stays until the block ends.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        path = self.folder / f"{digest}-{name.rpartition('/')[2]}"
        while (file := _open_locked(path)) is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as folder:
                fetch(Path(folder) / path.name)
                with FileLock(self.folder / ".lock"):
                    # Another process may have been faster, and its file be in use.
                    if not path.exists():
                        os.replace(Path(folder) / path.name, path)
                    self._trim(path)
        with file:
            os.utime(path)
            yield path

    def _trim(self, newest):
        """Delete what has not been used for longest until the rest fits."""
        files = []
        for entry in os.scandir(self.folder):
            if entry.is_file() and entry.name != ".lock":
                files.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            if path != str(newest) and _delete(path):
                total -= size


def _open_locked(path):
    """Open a file that others may read but not delete; None if there is none."""
    try:
        file = open(path, "rb")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except FileNotFoundError:
        return None
    file.close()
    return None


def _delete(path):
    """Delete a file unless it is in use; return whether it is gone."""
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    except BlockingIOError:
        return False
    return True
