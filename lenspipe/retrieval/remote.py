"""A survey's tree on a server, of which only the bytes that are needed are fetched."""

import collections.abc
import concurrent.futures
import contextlib
import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from lenspipe.retrieval.cache import Cache
from lenspipe.retrieval.http import HttpTransport
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.objects import ObjectTransport
from lenspipe.retrieval.ranges import merge, missing, plan
from lenspipe.retrieval.retry import patiently
from lenspipe.retrieval.tiles import BLOCK, MoreNeeded, read_layout
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import open_fits, wcs_of
from lenspipe.utils.progress import log

__all__ = ["RemoteSource"]

#: What is asked for first of a coadd, bytes: headers and table are within, most often.
_FIRST_BYTES = 21 * BLOCK


class _DamagedError(RetrievalError):
    """What came is no whole file, or parts of two."""

    def __init__(self, message):
        super().__init__(message, transient=True)


class _Coming(collections.abc.Mapping):
    """Results of futures, waited for when they are asked for."""

    def __init__(self, futures):
        self._futures = futures

    def __getitem__(self, key):
        return self._futures[key].result()

    def __iter__(self):
        return iter(self._futures)

    def __len__(self):
        return len(self._futures)


class RemoteSource(LocalSource):
    """Files on servers, and local ones beside them.

    Parameters
    ----------
    retrieval : lenspipe.config.data.Retrieval
    hosts : pathlib.Path
        JSON file of the run that records how each server answers.
    """

    def __init__(self, retrieval, hosts):
        self.retrieval = retrieval
        self._hosts, self._transports = hosts, {}
        self._begin = time.monotonic()
        self._cache = Cache(retrieval.cache, 1e9 * retrieval.cache_gb)
        self._pool = concurrent.futures.ThreadPoolExecutor(retrieval.connections)
        self._scratch = tempfile.TemporaryDirectory(prefix="lenspipe-")
        self._first_bytes = _FIRST_BYTES
        self._lock = threading.Lock()

    def close(self):
        """Stop what is under way, close connections and delete temporary files."""
        self._pool.shutdown(cancel_futures=True)
        for transport in self._transports.values():
            transport.close()
        self._scratch.cleanup()

    def transport(self, url):
        """Return what reads an address.

        Parameters
        ----------
        url : str

        Returns
        -------
        HttpTransport or ObjectTransport

        Raises
        ------
        LenspipeError
            The address is of a kind that nothing here reads.
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

    def traffic(self):
        """As of `LocalSource`."""
        megabytes = sum(transport.bytes for transport in self._transports.values()) / 1e6
        seconds = time.monotonic() - self._begin
        return f", {megabytes:.1f} MB at {megabytes / seconds:.1f} MB/s"

    @contextlib.contextmanager
    def table(self, path, checksums=None):
        """As of `LocalSource`; a cache keeps the file."""
        if not is_remote(path):
            with super().table(path) as local:
                yield local
            return
        fetch = patiently(self.retrieval, _DamagedError)

        def fetch_whole(local):
            fetch(self._try_whole, path, local, checksums)

        with self._cache.get(path, fetch_whole) as local:
            yield local

    @contextlib.contextmanager
    def coadds(self, paths, boxes, checksums=None):
        """As of `LocalSource`; of each file the tiles that are needed, all files at once."""
        if not any(map(is_remote, paths.values())):
            with super().coadds(paths, boxes) as files:
                yield files
            return
        with tempfile.TemporaryDirectory(dir=self._scratch.name) as folder:
            futures = {}
            for key, url in paths.items():
                local = Path(folder) / url.rpartition("/")[2]
                arguments = (url, local, boxes, checksums)
                futures[key] = self._pool.submit(self._fetch_sections, *arguments)
            try:
                yield _Coming(futures)
            finally:
                for future in futures.values():
                    future.cancel()
                concurrent.futures.wait(futures.values())

    def key(self, paths):
        """As of `LocalSource`."""
        return super().key([path for path in paths if not is_remote(path)]) or list(paths)

    def _fetch_sections(self, url, local, boxes, checksums):
        try:
            fetch = patiently(self.retrieval, _DamagedError)
            fetch(self._try_sections, url, local, boxes, checksums)
        except NotFoundError:
            return None
        return local

    def _try_whole(self, url, local, checksums):
        """Fetch a whole file and look whether it is one."""
        with open(local, "wb") as file:
            self.transport(url).read(url, None, file.fileno())
        self._check_whole(url, local, checksums)

    def _try_sections(self, url, local, boxes, checksums):
        """Fetch the first part of a coadd and then the tiles that boxes touch, or all of it."""
        transport = self.transport(url)
        host = transport.host(url)
        if host.ranges == "none" or url.endswith(".gz"):
            self._try_whole(url, local, checksums)
            return
        with open(local, "wb+") as file:
            seen = transport.read(url, [(0, self._first_bytes)], file.fileno())
            got = seen.ranges

            def read(ranges):
                again = transport.read(url, ranges, file.fileno())
                if again.version != seen.version:
                    raise _DamagedError(f"{url}: changed while it was read")
                return merge([*got, *again.ranges])

            while got != [(0, seen.size)]:
                try:
                    layout = read_layout(local, got[0][1], seen.size)
                    break
                except MoreNeeded as need:
                    got = read([(got[0][1], need.stop)])
                except LenspipeError as error:
                    raise _DamagedError(f"{url}: {error}") from None
            else:
                self._check_whole(url, local, checksums)
                return
            self._first_bytes = max(self._first_bytes, layout.first_bytes)
            sections = boxes(wcs_of(layout.header, url), layout.shape)
            wanted = layout.runs(sections)
            while left := missing(wanted, got):
                way = (host.ranges, host.most_ranges)
                for ranges in _cheapest(left, got[0][1], layout.end, host):
                    got = read(ranges)
                    if (host.ranges, host.most_ranges) != way:
                        break
            if got != [(0, seen.size)]:
                os.ftruncate(file.fileno(), layout.end)
                layout.forget_others(file, sections)

    def _check_whole(self, url, local, checksums):
        """Look whether a file is whole and, if the settings ask for it, what was published."""
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
        expected = self._published_sum(checksums, name)
        if expected is None:
            log.info("%s: not checked, %s doesn't list it", url, checksums)
            return
        with open(local, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise _DamagedError(f"{url}: SHA-256 {found[:8]}..., published {expected[:8]}...")

    def _published_sum(self, checksums, name):
        """Look up a file in a list of SHA-256 sums; None where there is no list or no such line."""

        def fetch(local):
            with open(local, "wb") as file:
                self.transport(checksums).read(checksums, None, file.fileno())

        try:
            with self._cache.get(checksums, fetch) as local:
                lines = local.read_text("ascii", "replace").splitlines()
        except NotFoundError:
            return None
        sums = (line.split(maxsplit=1) for line in lines if line.strip())
        return next((line[0] for line in sums if line[-1].lstrip("*").endswith(name)), None)


def _cheapest(runs, first, end, host):
    """Return the requests for some runs of bytes, or for all from `first` to `end` if cheaper."""
    if host.ranges == "none":
        return [None]
    requests = plan(runs, host.ranges == "several", host.most_ranges, host.link)
    rest = [[(first, end)]]
    return min(requests, rest, key=host.link.seconds)
