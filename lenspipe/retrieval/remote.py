"""A survey's tree on a server, of which only the bytes that are needed are fetched."""

import concurrent.futures
import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.cache import Cache
from lenspipe.retrieval.http import Host, HttpTransport
from lenspipe.retrieval.local import Boxes, LocalSource
from lenspipe.retrieval.objects import ObjectTransport
from lenspipe.retrieval.ranges import Ranges, merge, missing, plan
from lenspipe.retrieval.retry import retrying
from lenspipe.retrieval.tiles import BLOCK, MoreNeeded, read_layout
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import open_fits, reading, wcs_of
from lenspipe.utils.progress import log

__all__ = ["RemoteSource"]

#: Number of bytes of a coadd in the first request: headers and table are usually within.
_FIRST_BYTES = 21 * BLOCK

Key = TypeVar("Key")
Value = TypeVar("Value")


class _DamagedError(RetrievalError):
    """The bytes received are no complete file, or parts of two."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class _Results(Mapping[Key, Value]):
    """Results of futures; looking one up waits for it."""

    def __init__(self, futures: Mapping[Key, concurrent.futures.Future[Value]]) -> None:
        self._futures = futures

    def __getitem__(self, key: Key) -> Value:
        return self._futures[key].result()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._futures)

    def __len__(self) -> int:
        return len(self._futures)


class RemoteSource(LocalSource):
    """Files on servers, and local ones.

    Parameters
    ----------
    hosts
        JSON file that records how each server answers.
    """

    def __init__(self, retrieval: Retrieval, hosts: Path) -> None:
        self.retrieval = retrieval
        self._hosts = hosts
        self._transports: dict[str, HttpTransport | ObjectTransport] = {}
        self._begin = time.monotonic()
        self._cache = Cache(retrieval.cache, 1e9 * retrieval.cache_gb)
        self._pool = concurrent.futures.ThreadPoolExecutor(retrieval.connections)
        self._scratch = tempfile.TemporaryDirectory(prefix="lenspipe-")
        self._first_bytes = _FIRST_BYTES
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop all transfers, close connections and delete temporary files."""
        self._pool.shutdown(cancel_futures=True)
        for transport in self._transports.values():
            transport.close()
        self._scratch.cleanup()

    def transport(self, url: str) -> HttpTransport | ObjectTransport:
        """Return the transport that reads an address.

        Raises
        ------
        LenspipeError
            No transport reads addresses of this kind.
        """
        scheme = urlsplit(url).scheme.replace("https", "http")
        with self._lock:
            if scheme not in self._transports:
                self._transports[scheme] = (
                    HttpTransport(self.retrieval, self._hosts)
                    if scheme == "http"
                    else ObjectTransport(self.retrieval, url)
                )
            return self._transports[scheme]

    def traffic(self) -> str:
        """See `LocalSource`."""
        megabytes = sum(transport.bytes for transport in self._transports.values()) / 1e6
        seconds = time.monotonic() - self._begin
        return f", {megabytes:.1f} MB at {megabytes / seconds:.1f} MB/s"

    @contextlib.contextmanager
    def table(
        self, path: str | os.PathLike[str], checksums: str | os.PathLike[str] | None = None
    ) -> Iterator[Path]:
        """See `LocalSource`; the file is kept in a cache."""
        if not is_remote(path):
            with super().table(path) as local:
                yield local
            return
        url = str(path)
        fetch = retrying(self.retrieval, _DamagedError)

        def fetch_whole(local: Path) -> None:
            fetch(self._fetch_whole, url, local, checksums)

        with self._cache.get(url, fetch_whole) as local:
            yield local

    @contextlib.contextmanager
    def coadds(
        self,
        paths: Mapping[Key, str | Path],
        boxes: Boxes,
        checksums: str | os.PathLike[str] | None = None,
    ) -> Iterator[Mapping[Key, Path | None]]:
        """See `LocalSource`; only the tiles that are needed are fetched, of all files at once."""
        if not any(map(is_remote, paths.values())):
            with super().coadds(paths, boxes) as files:
                yield files
            return
        with tempfile.TemporaryDirectory(dir=self._scratch.name) as folder:
            futures = {}
            for key, url in paths.items():
                local = Path(folder) / str(url).rpartition("/")[2]
                arguments = (str(url), local, boxes, checksums)
                futures[key] = self._pool.submit(self._fetch_coadd, *arguments)
            try:
                yield _Results(futures)
            finally:
                for future in futures.values():
                    future.cancel()
                concurrent.futures.wait(futures.values())

    def key(self, paths: Iterable[str | Path]) -> list[object]:
        """See `LocalSource`."""
        paths = list(paths)
        return super().key([path for path in paths if not is_remote(path)]) or list(paths)

    def _fetch_coadd(
        self, url: str, local: Path, boxes: Boxes, checksums: str | os.PathLike[str] | None
    ) -> Path | None:
        try:
            fetch = retrying(self.retrieval, _DamagedError)
            fetch(self._fetch_sections, url, local, boxes, checksums)
        except NotFoundError:
            return None
        return local

    def _fetch_whole(self, url: str, local: Path, checksums: str | os.PathLike[str] | None) -> None:
        """Fetch a whole file and check that it is complete."""
        with open(local, "wb") as file:
            self.transport(url).read(url, None, file.fileno())
        self._check_whole(url, local, checksums)

    def _fetch_sections(
        self, url: str, local: Path, boxes: Boxes, checksums: str | os.PathLike[str] | None
    ) -> None:
        """Fetch the first part of a coadd and then the tiles that boxes touch, or all of it."""
        transport = self.transport(url)
        host = transport.host(url)
        if host.ranges == "none" or url.endswith(".gz"):
            self._fetch_whole(url, local, checksums)
            return
        with open(local, "wb+") as file:
            first = transport.read(url, [(0, self._first_bytes)], file.fileno())
            received = first.ranges

            def read(ranges: Ranges | None) -> Ranges:
                answer = transport.read(url, ranges, file.fileno())
                if answer.version != first.version:
                    raise _DamagedError(f"{url}: changed while it was read")
                return merge([*received, *answer.ranges])

            while received != [(0, first.size)]:
                try:
                    layout = read_layout(local, received[0][1], first.size)
                    break
                except MoreNeeded as need:
                    received = read([(received[0][1], need.stop)])
                except LenspipeError as error:
                    raise _DamagedError(f"{url}: {error}") from None
            else:
                self._check_whole(url, local, checksums)
                return
            self._first_bytes = max(self._first_bytes, layout.first_bytes)
            with reading(url):
                sections = boxes(wcs_of(layout.header, url), layout.shape)
            needed = layout.ranges(sections)
            while left := missing(needed, received):
                before = (host.ranges, host.most_ranges)
                for ranges in _cheapest(left, received[0][1], layout.end, host):
                    received = read(ranges)
                    if (host.ranges, host.most_ranges) != before:
                        break
            if received != [(0, first.size)]:
                os.ftruncate(file.fileno(), layout.end)
                layout.clear_other_tiles(file, sections)

    def _check_whole(self, url: str, local: Path, checksums: str | os.PathLike[str] | None) -> None:
        """Check that a file is complete and, if so configured, that it is the published one."""
        name = url.rpartition("/")[2]
        # Lists of positions need not be FITS.
        if ".fits" in name.lower():
            try:
                with open_fits(local):
                    pass
            except LenspipeError as error:
                raise _DamagedError(f"{url}: {error}") from None
        if not (checksums and self.retrieval.checksums):
            return
        expected = self._published_sum(str(checksums), name)
        if expected is None:
            log.info("%s: not checked, %s does not list it", url, checksums)
            return
        with open(local, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise _DamagedError(f"{url}: SHA-256 {actual[:8]}..., published {expected[:8]}...")

    def _published_sum(self, checksums: str, name: str) -> str | None:
        """Look up a file in a list of SHA-256 sums; None without a list or such a line."""

        def fetch(local: Path) -> None:
            with open(local, "wb") as file:
                self.transport(checksums).read(checksums, None, file.fileno())

        try:
            with self._cache.get(checksums, fetch) as local:
                lines = local.read_text("ascii", "replace").splitlines()
        except NotFoundError:
            return None
        sums = (line.split(maxsplit=1) for line in lines if line.strip())
        return next((line[0] for line in sums if line[-1].lstrip("*").endswith(name)), None)


def _cheapest(needed: Ranges, first: int, end: int, host: Host) -> list[Ranges] | list[None]:
    """Return the requests for ranges of bytes, or for all from `first` to `end` if cheaper."""
    if host.ranges == "none":
        return [None]
    requests = plan(needed, host.ranges == "several", host.most_ranges, host.link)
    rest: list[Ranges] = [[(first, end)]]
    return min(requests, rest, key=host.link.seconds)
