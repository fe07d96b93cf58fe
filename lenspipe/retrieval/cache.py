"""A folder of fetched files of bounded size, shared by any number of processes."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from lenspipe.utils.addresses import file_name
from lenspipe.utils.files import room_to_write

__all__ = ["Cache"]


class Cache:
    """Files by name; when they exceed the limit, the least recently used are deleted.

    A file enters the folder by being renamed, so that one that is there is complete. A file that is
    being read is locked by its reader and is not deleted; the operating system releases the lock
    when the reader dies. No other file takes its place, since files enter and are deleted under a
    lock of the folder.

    Parameters
    ----------
    limit
        Maximum total size of the files in bytes, those in use aside.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: float) -> None:
        self.folder = Path(folder)
        self.limit = limit

    @contextlib.contextmanager
    def get(
        self,
        name: str,
        fetch: Callable[[Path], object],
        is_good: Callable[[Path], bool] | None = None,
    ) -> Iterator[Path]:
        """Make a file available; it stays until the block ends.

        Parameters
        ----------
        name
            Address of the file.
        fetch
            Called, if the file is not in the folder, with the path at which to write it.
        is_good
            Called with the path of a file that is in the folder; if false, the file is fetched
            again.

        Raises
        ------
        DiskFullError
            There is no space left.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        path = self.folder / f"{digest}-{file_name(name)}"
        file = _open_locked(path)
        if file and is_good and not is_good(path):
            file.close()
            path.unlink(missing_ok=True)  # those who read it keep it
            file = None
        while file is None:
            with room_to_write(path):
                self._fetch(path, fetch)
            file = _open_locked(path)
        with file:
            os.utime(path)
            yield path

    def _fetch(self, path: Path, fetch: Callable[[Path], object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as folder:
            fetch(Path(folder) / path.name)
            with FileLock(self.folder / ".lock"):
                # Another process may have been faster, and its file may be in use.
                if not path.exists():
                    os.replace(Path(folder) / path.name, path)
                self._trim(path)

    def _trim(self, newest: Path) -> None:
        """Delete the least recently used files until the others are within the limit."""
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


def _open_locked(path: Path) -> BinaryIO | None:
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


def _delete(path: str) -> bool:
    """Delete a file unless it is in use; return whether it is gone."""
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    except BlockingIOError:
        return False
    return True
