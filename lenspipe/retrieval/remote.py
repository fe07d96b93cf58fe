"""A survey's tree on a server, of which only the bytes that are needed are fetched."""

import concurrent.futures
import contextlib
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.cache import Cache
from lenspipe.retrieval.hosts import Host
from lenspipe.retrieval.http import HttpTransport
from lenspipe.retrieval.local import Boxes, LocalSource
from lenspipe.retrieval.objects import ObjectTransport
from lenspipe.retrieval.ranges import Ranges, merge, missing, plan
from lenspipe.retrieval.retry import retrying
from lenspipe.retrieval.tiles import BLOCK, MoreNeeded, read_layout
from lenspipe.utils.addresses import file_name
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.files import is_remote, room_to_write
from lenspipe.utils.fits import open_fits, reading, wcs_of
from lenspipe.utils.progress import log

__all__ = ["RemoteSource"]

#: Number of bytes of a coadd in the first request: headers and table are usually within.
_FIRST_BYTES = 21 * BLOCK

#: A line of a list of SHA-256 sums.
_SUM = re.compile(r"([0-9a-fA-F]{64})\s+[*]?(\S.*)")

#: A file that is damaged as often as that is damaged on the server.
_DAMAGED_ATTEMPTS = 3

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
        with room_to_write(f"{tempfile.gettempdir()} (TMPDIR)"):
            self._scratch = tempfile.TemporaryDirectory(prefix="lenspipe-")
        self._first_bytes = _FIRST_BYTES
        self._unchecked: dict[str, str] = {}
        self._absent: dict[str, str] = {}
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
        fetch = retrying(self.retrieval, _DamagedError, _DAMAGED_ATTEMPTS)

        def fetch_whole(local: Path) -> None:
            fetch(self._fetch_whole, url, local, checksums)

        def is_published(local: Path) -> bool:
            # It may have been fetched by a run that did not check it, or be an earlier version.
            try:
                self._check_sum(url, local, checksums)
            except _DamagedError as error:
                log.info("%s; fetching it again", error)
                return False
            return True

        with self._cache.get(url, fetch_whole, is_published) as local:
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
        with room_to_write(self._scratch.name):
            scratch = tempfile.TemporaryDirectory(dir=self._scratch.name)
        with scratch as folder:
            futures = {}
            for key, url in paths.items():
                local = Path(folder) / file_name(str(url))
                arguments = (str(url), local, boxes, checksums)
                futures[key] = self._pool.submit(self._fetch_coadd, *arguments)
            try:
                yield _Results(futures)
            finally:
                for future in futures.values():
                    future.cancel()
                concurrent.futures.wait(futures.values())

    def unchecked(self, paths: Iterable[str | Path]) -> str:
        """See `LocalSource`."""
        reasons = (self._unchecked.get(str(path)) for path in paths)
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    def key(self, paths: Iterable[str | Path]) -> list[object]:
        """See `LocalSource`."""
        paths = list(paths)
        return super().key([path for path in paths if not is_remote(path)]) or list(paths)

    def _fetch_coadd(
        self, url: str, local: Path, boxes: Boxes, checksums: str | os.PathLike[str] | None
    ) -> Path | None:
        fetch = retrying(self.retrieval, _DamagedError, _DAMAGED_ATTEMPTS)
        try:
            with room_to_write(f"{local} (below TMPDIR)"):
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
        if host.ranges == "none" or file_name(url).endswith(".gz"):
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
                if self.retrieval.checksums:
                    self._unchecked[url] = "only parts were read"
                os.ftruncate(file.fileno(), layout.end)
                layout.clear_other_tiles(file, sections)

    def _check_whole(self, url: str, local: Path, checksums: str | os.PathLike[str] | None) -> None:
        """Check that a file is complete and, if so configured, that it is the published one."""
        name = file_name(url)
        # Lists of positions need not be FITS.
        if ".fits" in name.lower():
            try:
                with open_fits(local):
                    pass
            except LenspipeError as error:
                raise _DamagedError(f"{url}: {error}") from None
        elif page := _page_in(local):
            raise _DamagedError(f"{url}: found a page, expected a file: {page!r}")
        self._check_sum(url, local, checksums)

    def _check_sum(self, url: str, local: Path, checksums: str | os.PathLike[str] | None) -> None:
        """Check that a file is the published one, if that is configured."""
        if not (checksums and self.retrieval.checksums):
            return
        expected, reason = self._published_sum(str(checksums), file_name(url))
        if expected is None:
            self._unchecked[url] = reason
            return
        with open(local, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise _DamagedError(f"{url}: SHA-256 {actual[:8]}..., published {expected[:8]}...")

    def _published_sum(self, checksums: str, name: str) -> tuple[str | None, str]:
        """Look up a file in a list of SHA-256 sums; without its sum, return the reason."""

        def fetch(local: Path) -> None:
            with open(local, "wb") as file:
                self.transport(checksums).read(checksums, None, file.fileno())
            if not _read_sums(local):
                raise _DamagedError(f"{checksums}: found no SHA-256 sums")

        if checksums not in self._absent:
            retry = retrying(self.retrieval, _DamagedError, _DAMAGED_ATTEMPTS)
            try:
                with self._cache.get(checksums, lambda local: retry(fetch, local)) as local:
                    if (expected := _read_sums(local).get(name)) is not None:
                        return expected, ""
                return None, f"not listed in {checksums}"
            except RetrievalError as error:
                if error.transient and not isinstance(error, _DamagedError):
                    raise
                self._absent[checksums] = f"no list of sums: {error}"
                log.info("nothing is checked that this list should have: %s", error)
        return None, self._absent[checksums]


def _read_sums(path: Path) -> dict[str, str]:
    """Read a list of SHA-256 sums: name of the file, without folders -> sum."""
    lines = path.read_text("utf-8", "replace").splitlines()
    sums = (_SUM.fullmatch(line.strip()) for line in lines)
    return {line[2].rpartition("/")[2]: line[1].lower() for line in sums if line}


def _page_in(path: Path) -> str:
    """Return the beginning of a file if it is a page or an error in JSON, else nothing."""
    with open(path, "rb") as file:
        begin = file.read(100).decode("utf-8", "replace").strip()
    is_page = re.match(r"<!doctype html|<html|\{", begin, re.IGNORECASE)
    return " ".join(begin.split()) if is_page and path.suffix not in (".html", ".json") else ""


def _cheapest(needed: Ranges, first: int, end: int, host: Host) -> list[Ranges] | list[None]:
    """Return the requests for ranges of bytes, or for all from `first` to `end` if cheaper."""
    if host.ranges == "none":
        return [None]
    requests = plan(needed, host.ranges == "several", host.most_ranges, host.link)
    rest: list[Ranges] = [[(first, end)]]
    return min(requests, rest, key=host.link.seconds)
