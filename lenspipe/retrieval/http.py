"""Ranges of bytes and whole files over HTTP, however the server answers a request for ranges."""

import contextlib
import dataclasses
import http.client
import io
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

import lenspipe
from lenspipe.config.data import Retrieval
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.retrieval.hosts import Host, Hosts
from lenspipe.retrieval.multipart import Pieces, content_ranges
from lenspipe.retrieval.ranges import Ranges
from lenspipe.retrieval.retry import retry_after_s, retrying
from lenspipe.utils.addresses import Credentials
from lenspipe.utils.errors import NotFoundError, RetrievalError
from lenspipe.utils.progress import log

__all__ = ["HttpTransport", "Received", "basic_auth", "write_at"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)$")

#: Bytes read at a time. With smaller pieces threads wait for the interpreter more often.
_PIECE_BYTES = 1 << 20

#: Size of a body above which the speed of the connection is measured, bytes.
_MIN_MEASURED_BYTES = 1 << 18

#: A server that does not accept this many ranges in a request is asked for single ranges only.
_MIN_RANGES = 8

#: A transfer that broke after fewer bytes than that is not continued but retried.
_MIN_PROGRESS_BYTES = 1 << 14

#: Statuses of a server that can't answer any request at present.
_UNAVAILABLE = (429, 502, 503, 504)

#: Statuses after which what has been received of a file is not continued.
_START_OVER = (412, 416)

#: Types of pages, which some servers send with status 200 in place of a file.
_PAGES = ("text/html", "application/json")

#: Texts of errors that say that there is no host of this name.
_NO_HOST = ("Name or service not known", "nodename nor servname", "No address associated")

#: Weight of the latest measurement in a host's latency and speed.
_WEIGHT = 0.2


@dataclasses.dataclass
class Received:
    """What has been received of a file.

    Attributes
    ----------
    size
        Of the whole file, bytes.
    version
        Size, ETag and Last-Modified: the same as long as the file is.
    ranges
        Bytes received.
    """

    size: int
    version: tuple[object, ...]
    ranges: Ranges


@dataclasses.dataclass
class _Begun:
    """What has been received of a whole file, from its beginning.

    Attributes
    ----------
    size
        Bytes received.
    total
        Of the whole file, bytes; None if unknown.
    etag, modified
        The answer's ETag and Last-Modified.
    """

    size: int = 0
    total: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """Value of ``If-Range``: only strong ETags are allowed (RFC 9110, section 13.1.5)."""
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.modified

    def restart(self, response: requests.Response) -> None:
        """Forget what has been received, and note which file comes now."""
        declared = response.headers.get("Content-Length", "")
        self.size, self.total = 0, int(declared) if declared.isdigit() else None
        self.etag = response.headers.get("ETag")
        self.modified = response.headers.get("Last-Modified")


class _BrokenError(RetrievalError):
    """A transfer ended within the body."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class HttpTransport:
    """Reads over HTTP with a pool of connections that are kept open.

    Parameters
    ----------
    hosts
        JSON file that records how each server answers, for all jobs of a run.
    """

    def __init__(
        self, retrieval: Retrieval, hosts: str | os.PathLike[str], pause_s: float = 0.0
    ) -> None:
        self.retrieval = retrieval
        self.hosts = Hosts(hosts, retrieval, pause_s)
        self.bytes = self.requests = 0
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.headers["User-Agent"] = (
            f"lenspipe/{lenspipe.__version__} ({retrieval.contact})"
        )
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = HTTPAdapter(pool_maxsize=retrieval.connections, pool_block=True)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def host(self, url: str) -> Host:
        """Return what is known of the server of an address."""
        return self.hosts.host(url)

    def read(self, url: str, ranges: Ranges | None, file: int) -> Received:
        """Read ranges of a file, or all of it, and write them at their offsets.

        A transfer that breaks is continued where it broke, if the server still has the same file.

        Parameters
        ----------
        ranges
            Sorted and disjoint; None for the whole file.
        file
            Descriptor of a local file, open for writing.

        Returns
        -------
        Received
            With more ranges than requested if the server ignores ranges, or with fewer if it
            answers one at a time or breaks off; never with none.

        Raises
        ------
        NotFoundError
            There is no such file.
        RetrievalError
            The server did not deliver it after all retries.
        OSError
            The local file cannot be written.
        """
        if ranges:
            return retrying(self.retrieval)(self._read_ranges, url, ranges, file)
        return retrying(self.retrieval)(self._read_on, url, _Begun(), file)

    def read_once(self, url: str, file: int) -> Received:
        """Read a whole file as `read` does, without retries, and also pages."""
        return self._read_rest(url, _Begun(), file, pages=True)

    def _read_ranges(self, url: str, ranges: Ranges, file: int) -> Received:
        """Read ranges in one request."""
        value = "bytes=" + ",".join(f"{a}-{b - 1}" for a, b in ranges)
        with self._ask(url, {"Range": value}) as response:
            _check_status(url, response, ranged=True)
            if response.status_code == 206:
                return self._write_ranges(url, ranges, response, file)
            begun = _Begun()
            begun.restart(response)
            self._note_whole_file(url, ranges)
            try:
                return self._write_rest(url, begun, response, file)
            except _BrokenError as error:
                if begun.size < _MIN_PROGRESS_BYTES or begun.total is None:
                    raise
                log.info("%s; continuing there", error)
                version = begun.total, begun.etag, begun.modified
                return Received(begun.total, version, [(0, begun.size)])

    def _read_on(self, url: str, begun: _Begun, file: int) -> Received:
        """Read what is missing of a whole file, as long as each request brings a part of it."""
        while True:
            before = begun.size
            try:
                return self._read_rest(url, begun, file)
            except _BrokenError as error:
                if begun.size < before + _MIN_PROGRESS_BYTES:
                    raise
                log.info("%s; continuing there", error)

    def _read_rest(self, url: str, begun: _Begun, file: int, pages: bool = False) -> Received:
        """Read in one request what is missing of a whole file."""
        headers = {}
        if begun.size:
            headers["Range"] = f"bytes={begun.size}-"
            if begun.validator:
                headers["If-Range"] = begun.validator
        with self._ask(url, headers) as response:
            if begun.size and response.status_code in _START_OVER:
                begun.size = 0
            _check_status(url, response, ranged=begun.size > 0, pages=pages)
            if response.status_code == 200:
                begun.restart(response)
            else:
                _check_same(url, begun, response)
            return self._write_rest(url, begun, response, file)

    def _write_rest(
        self, url: str, begun: _Begun, response: requests.Response, file: int
    ) -> Received:
        """Write a body that is all that is missing of a file."""
        for piece in self._pieces(url, response):
            write_at(file, piece, begun.size)
            begun.size += len(piece)
        if begun.total not in (None, begun.size):
            raise _BrokenError(f"{url}: found {begun.size} bytes, expected {begun.total}")
        # At an earlier attempt the file may have been longer.
        os.ftruncate(file, begun.size)
        version = begun.size, begun.etag, begun.modified
        return Received(begun.size, version, [(0, begun.size)])

    @contextlib.contextmanager
    def _ask(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Send a request when it is the server's turn, and note how that answers."""
        asked_at = self.hosts.wait_turn(url)
        secret = self.retrieval.credentials_for(url)
        begin = time.monotonic()
        try:
            with (
                _plain_errors(url, secret.query),
                self._session.get(
                    url,
                    params=secret.query or None,
                    auth=basic_auth(secret),
                    headers=headers,
                    stream=True,
                    timeout=self.retrieval.timeout_s,
                ) as response,
            ):
                latency, body_begin = time.monotonic() - begin, time.monotonic()
                yield response
                count = response.raw.tell()
        except UnavailableError as error:
            self.hosts.note_failure(url, error, asked_at)
            raise
        except NotFoundError:
            self.hosts.note_success(url)
            raise
        self.hosts.note_success(url)
        self._measure(url, latency, count, time.monotonic() - body_begin)

    def _write_ranges(
        self, url: str, ranges: Ranges, response: requests.Response, file: int
    ) -> Received:
        """Write a body of one or several ranges."""
        content_type = response.headers.get("Content-Type", "")
        several = content_type.lower().startswith("multipart/byteranges")
        received: Ranges = []
        size = None
        starts, stops = {start for start, _ in ranges}, {stop for _, stop in ranges}
        with io.BufferedReader(Pieces(self._pieces(url, response)), _PIECE_BYTES) as body:
            single = [response.headers.get("Content-Range", "")]
            start = offset = 0
            try:
                for content_range in content_ranges(url, body, content_type) if several else single:
                    start, stop, size = _check_range(url, content_range, starts, stops, size)
                    offset = start
                    while piece := body.read1(min(_PIECE_BYTES, stop - offset)):
                        write_at(file, piece, offset)
                        offset += len(piece)
                    if offset < stop:
                        raise _BrokenError(f"{url}: {content_range!r} ends at byte {offset}")
                    received.append((start, stop))
                    start = offset
                if size is None or (body.read(1) and not several):
                    raise RetrievalError(f"{url}: not the ranges that it announces", transient=True)
            except _BrokenError as error:
                received += [(start, offset)] if offset > start else []
                if size is None or _count(received) < _MIN_PROGRESS_BYTES:
                    raise
                log.info("%s; continuing there", error)
        self._note_ranges(url, ranges, size, several)
        version = size, response.headers.get("ETag"), response.headers.get("Last-Modified")
        return Received(size, version, received)

    def _pieces(self, url: str, response: requests.Response) -> Iterator[bytes]:
        """Yield a body piece by piece; a transfer that is too slow is aborted."""
        begin = time.monotonic()
        count = 0
        while True:
            try:
                piece = response.raw.read1(_PIECE_BYTES)
            except (*_NETWORK_ERRORS, OSError) as error:
                raise _BrokenError(f"{url}: {_reason(error)} after {count} bytes") from None
            if not piece:
                return
            count += len(piece)
            with self._lock:
                self.bytes += len(piece)
            yield piece
            seconds = time.monotonic() - begin
            if seconds > self.retrieval.timeout_s + count / (1e3 * self.retrieval.min_kb_per_s):
                raise _BrokenError(f"{url}: only {count} bytes in {seconds:.0f} s")

    def _measure(self, url: str, latency: float, count: int, seconds: float) -> None:
        """Update latency and speed of a host; small bodies say nothing about its speed."""
        link = self.host(url).link
        with self._lock:
            self.requests += 1
            link.latency_s += _WEIGHT * (latency - link.latency_s)
            if count > _MIN_MEASURED_BYTES and seconds > 0:
                link.bytes_per_s += _WEIGHT * (count / seconds - link.bytes_per_s)

    def _note_whole_file(self, url: str, ranges: Ranges) -> None:
        """Note that a request for ranges was answered with the whole file."""
        host = self.host(url)
        if len(ranges) == 1:
            if "single" not in host.proved:
                self.hosts.note(url, ranges="none")
        elif "several" not in host.proved or len(ranges) // 2 < _MIN_RANGES:
            self.hosts.note(url, ranges="single")
        else:
            self.hosts.note(url, most_ranges=len(ranges) // 2)

    def _note_ranges(self, url: str, ranges: Ranges, size: int, several: bool) -> None:
        """Note that a request for ranges was answered with several, or with one."""
        host = self.host(url)
        if several or len(ranges) == 1:
            answered = "several" if several else "single"
            if answered not in host.proved:
                self.hosts.note(url, proved=(*host.proved, answered))
        elif "several" not in host.proved and sum(start < size for start, _ in ranges) > 1:
            self.hosts.note(url, ranges="single")


def basic_auth(credentials: Credentials) -> HTTPBasicAuth | None:
    """Return user and password in the form that requests takes; None leaves it to ``.netrc``."""
    user, password, _ = credentials
    return HTTPBasicAuth(user.encode(), password.encode()) if user or password else None


def write_at(file: int, piece: bytes, offset: int) -> None:
    """Write all of a piece of a file, given by its descriptor, at its offset."""
    while piece:
        count = os.pwrite(file, piece, offset)
        piece, offset = piece[count:], offset + count


def _count(ranges: Ranges) -> int:
    return sum(stop - start for start, stop in ranges)


def _check_range(
    url: str, content_range: str, starts: set[int], stops: set[int], size: int | None
) -> tuple[int, int, int]:
    """Return start, stop and size of the file that an answer states, if they were requested."""
    match = _CONTENT_RANGE.match(content_range)
    start, last, total = map(int, match.groups()) if match else (0, -1, 0)
    stop = last + 1
    # Requested ranges may reach beyond the end of the file; touching ones may come as one.
    ends = stop in stops or (stop == total and max(stops) > total)
    if (
        start >= stop
        or stop > total
        or start not in starts
        or not ends
        or size not in (None, total)
    ):
        requested = f"{len(starts)} ranges from {min(starts)} to {max(stops)}"
        raise RetrievalError(
            f"{url}: answered with {content_range!r}, requested {requested}", transient=True
        )
    return start, stop, total


def _check_same(url: str, begun: _Begun, response: requests.Response) -> None:
    """Check that an answer continues what has been received."""
    value = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.match(value)
    start, last, total = map(int, match.groups()) if match else (-1, -1, -1)
    here = start == begun.size and last + 1 == total and begun.total in (None, total)
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if not here or (etag, modified) != (begun.etag, begun.modified):
        size, begun.size = begun.size, 0
        problem = "the file changed" if here else f"answered with {value!r}"
        raise RetrievalError(f"{url}: {problem} after {size} bytes", transient=True)
    begun.total = total


def _check_status(
    url: str, response: requests.Response, ranged: bool = False, pages: bool = False
) -> None:
    """Raise an error for a status that is no success, or a page in place of a file."""
    code = response.status_code
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if code == 200 and not pages and content_type in _PAGES and not _is_page(url):
        begin = response.raw.read(1000).decode("utf-8", "replace")
        text = " ".join(re.sub("<[^<>]*>", " ", begin).split())[:100]
        raise UnavailableError(f"{url}: answered with a page, expected a file: {text!r}")
    if code == 200 or (code == 206 and ranged):
        return
    if code in (404, 410):
        raise NotFoundError(f"{url}: {code} {response.reason}: no such file")
    text, wait = f"{url}: {code} {response.reason}", response.headers.get("Retry-After")
    if code in _UNAVAILABLE:
        raise UnavailableError(text, retry_after_s(wait), limited=code == 429)
    # 412 and 416: the file is another than it was when it was read before.
    transient = code >= 500 or code in (206, 408, 412, 416, 421, 425)
    raise RetrievalError(text, transient, retry_after_s(wait))


def _is_page(url: str) -> bool:
    return urlsplit(url).path.lower().endswith((".html", ".htm", ".json"))


_NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
)


@contextlib.contextmanager
def _plain_errors(url: str, secret: str) -> Iterator[None]:
    """Turn errors of requests, urllib3 and http.client into a `RetrievalError` without a secret."""
    try:
        yield
    except _NETWORK_ERRORS as error:
        reason = _reason(error).replace(secret or " ", "***" if secret else " ")
        final = (requests.exceptions.SSLError, requests.exceptions.TooManyRedirects, ValueError)
        if isinstance(error, (*final, requests.ReadTimeout)):
            raise RetrievalError(f"{url}: {reason}", not isinstance(error, final)) from None
        # A name that is not known to be wrong for good: a later run may find it.
        wait = math.inf if any(text in reason for text in _NO_HOST) else 0.0
        raise UnavailableError(f"{url}: {reason}", wait) from None


def _reason(error: Exception) -> str:
    """Describe the innermost cause of a library's error in a few words."""
    while isinstance(inner := next(iter(error.args), None), Exception) or (
        inner := getattr(error, "reason", None)
    ):
        if not isinstance(inner, Exception):
            break
        error = inner
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
