"""Progress of a scoring that is under way, so that one that was killed can be resumed."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from lenspipe.utils.files import atomic

__all__ = ["Parts", "open_parts"]

#: Scores are kept at intervals of so many seconds, about the time that a brick takes to cut.
_SECONDS = 5.0


class Parts:
    """Tables of whole batches, in a folder, in the order of their batches.

    Parameters
    ----------
    folder
        Holds the files ``<first batch>-<end>.parquet``.

    Attributes
    ----------
    batches : int
        Number of batches that are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._since = folder, time.monotonic()
        self._waiting: list[pa.Table] = []
        self._files = sorted(folder.glob("[0-9]*.parquet"))
        self.batches = int(self._files[-1].stem.partition("-")[2]) if self._files else 0

    def tables(self) -> Iterator[pa.Table]:
        """Yield the tables that an earlier process has kept."""
        for path in self._files:
            yield pq.read_table(path)

    def add(self, table: pa.Table) -> None:
        """Keep the table of a batch, at once or together with later ones."""
        self._waiting.append(table)
        if time.monotonic() - self._since < _SECONDS:
            return
        first, self.batches = self.batches, self.batches + len(self._waiting)
        with atomic(self._folder / f"{first:08d}-{self.batches:08d}.parquet") as temporary:
            pq.write_table(pa.concat_tables(self._waiting), temporary)
        self._waiting, self._since = [], time.monotonic()


@contextlib.contextmanager
def open_parts(folder: Path, key: str) -> Iterator[Parts | None]:
    """Open the parts that an earlier process has kept of the same work, or start anew.

    The folder is deleted when the block ends without an error.

    Parameters
    ----------
    key
        Hash of everything on which the scores depend; parts with another key are deleted.

    Yields
    ------
    Parts or None
        None if another process is doing the same work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The operating system frees the lock of a process that has died.
    lock = FileLock(folder.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield None
        return
    try:
        made_from = folder / "key"
        if not made_from.exists() or made_from.read_text() != key:
            shutil.rmtree(folder)
            with atomic(made_from) as temporary:
                temporary.write_text(key)
        yield Parts(folder)
        shutil.rmtree(folder)
    finally:
        lock.release()
