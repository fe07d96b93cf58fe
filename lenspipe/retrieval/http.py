"""Ranges of bytes and whole files over HTTP, however the server answers a request for ranges."""

import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock
from requests.adapters import HTTPAdapter

import lenspipe
from lenspipe.config.data import Retrieval
from lenspipe.retrieval.multipart import Pieces, content_ranges
from lenspipe.retrieval.ranges import MAX_RANGES, Link, Ranges
from lenspipe.retrieval.retry import retry_after_s, retrying
from lenspipe.utils.errors import NotFoundError, RetrievalError
from lenspipe.utils.files import atomic, read_kept, room_to_write
from lenspipe.utils.progress import log

__all__ = ["Host", "HttpTransport", "Received", "write_at"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)$")

#: Bytes read at a time. With smaller pieces threads wait for the interpreter more often.
_PIECE_BYTES = 1 << 20

#: Size of a body above which the speed of the connection is measured, bytes.
_MIN_MEASURED_BYTES = 1 << 18

#: A server that does not accept this many ranges in a request is asked for single ranges only.
_MIN_RANGES = 8

#: What is requested from a server, for the log.
_REQUESTS = {
    "several": "up to {} ranges at once",
    "single": "one range at a time",
    "none": "whole files",
}

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
class Host:
    """What is known of a server.

    Attributes
    ----------
    ranges
        What it answers: requests for several ranges ('several'), for one ('single'), or only for
        whole files ('none').
    proved
        Which of these it has been seen to answer.
    most_ranges
        How many ranges it accepts in a request.
    """

    ranges: str = "several"
    proved: tuple[str, ...] = ()
    most_ranges: int = MAX_RANGES
    link: Link = dataclasses.field(default_factory=Link)


class HttpTransport:
    """Reads over HTTP with a pool of connections that are kept open.

    Parameters
    ----------
    hosts
        JSON file that records how each server answers, for all jobs of a run.
    """

    def __init__(self, retrieval: Retrieval, hosts: str | os.PathLike[str]) -> None:
        self.retrieval = retrieval
        self._hosts_path = Path(hosts)
        self.bytes = self.requests = 0
        self._hosts = {name: Host(**known) for name, known in self._read_hosts().items()}
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
        with self._lock:
            return self._hosts.setdefault(urlsplit(url).netloc, Host())

    def read(self, url: str, ranges: Ranges | None, file: int) -> Received:
        """Read ranges of a file, or all of it, and write them at their offsets.

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
            answers one at a time; never with none.

        Raises
        ------
        NotFoundError
            There is no such file.
        RetrievalError
            The server did not deliver it after all retries.
        DiskFullError
            There is no space left.
        """
        return retrying(self.retrieval)(self.read_once, url, ranges, file)

    def read_once(self, url: str, ranges: Ranges | None, file: int) -> Received:
        """Read as `read` does, without retries."""
        begin = time.monotonic()
        headers = {}
        if ranges:
            headers["Range"] = "bytes=" + ",".join(f"{a}-{b - 1}" for a, b in ranges)
        with (
            _plain_errors(url),
            self._session.get(
                url, headers=headers, stream=True, timeout=self.retrieval.timeout_s
            ) as response,
        ):
            latency, body_begin = time.monotonic() - begin, time.monotonic()
            _check_status(url, response, ranges)
            if ranges and response.status_code == 206:
                received, count = self._write_ranges(url, ranges, response, file)
            else:
                received, count = self._write_whole(url, ranges, response, file)
        self._measure(url, latency, count, time.monotonic() - body_begin)
        return received

    def _write_whole(
        self, url: str, ranges: Ranges | None, response: requests.Response, file: int
    ) -> tuple[Received, int]:
        """Write a body that is the whole file."""
        size, declared = 0, response.headers.get("Content-Length")
        for piece in self._pieces(response):
            write_at(file, piece, size, url)
            size += len(piece)
        if declared is not None and str(size) != declared:
            raise RetrievalError(f"{url}: found {size} bytes, expected {declared}", transient=True)
        # At an earlier attempt the file may have been longer.
        os.ftruncate(file, size)
        if ranges:
            self._note_whole_file(url, ranges)
        return Received(size, _version(size, response), [(0, size)]), size

    def _write_ranges(
        self, url: str, ranges: Ranges, response: requests.Response, file: int
    ) -> tuple[Received, int]:
        """Write a body of one or several ranges."""
        content_type = response.headers.get("Content-Type", "")
        several = content_type.lower().startswith("multipart/byteranges")
        received: Ranges = []
        size = None
        starts, stops = {start for start, _ in ranges}, {stop for _, stop in ranges}
        with io.BufferedReader(Pieces(self._pieces(response)), _PIECE_BYTES) as body:
            single = [response.headers.get("Content-Range", "")]
            for content_range in content_ranges(url, body, content_type) if several else single:
                start, stop, size = _check_range(url, content_range, starts, stops, size)
                offset = start
                while piece := body.read1(min(_PIECE_BYTES, stop - offset)):
                    write_at(file, piece, offset, url)
                    offset += len(piece)
                if offset < stop:
                    raise RetrievalError(
                        f"{url}: {content_range!r} ends at byte {offset}", transient=True
                    )
                received.append((start, stop))
            if size is None or (body.read(1) and not several):
                raise RetrievalError(f"{url}: not the ranges that it announces", transient=True)
        self._note_ranges(url, ranges, size, several)
        count = sum(stop - start for start, stop in received)
        return Received(size, _version(size, response), received), count

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """Yield a body piece by piece; a transfer that is too slow is aborted."""
        begin = time.monotonic()
        count = 0
        while piece := response.raw.read1(_PIECE_BYTES):
            count += len(piece)
            with self._lock:
                self.bytes += len(piece)
            yield piece
            seconds = time.monotonic() - begin
            if seconds > self.retrieval.timeout_s + count / (1e3 * self.retrieval.min_kb_per_s):
                raise RetrievalError(
                    f"{response.url}: only {count} bytes in {seconds:.0f} s", transient=True
                )

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
                self._note(url, ranges="none")
        elif "several" not in host.proved or len(ranges) // 2 < _MIN_RANGES:
            self._note(url, ranges="single")
        else:
            self._note(url, most_ranges=len(ranges) // 2)

    def _note_ranges(self, url: str, ranges: Ranges, size: int, several: bool) -> None:
        """Note that a request for ranges was answered with several, or with one."""
        host = self.host(url)
        if several or len(ranges) == 1:
            answered = "several" if several else "single"
            if answered not in host.proved:
                self._note(url, proved=(*host.proved, answered))
        elif "several" not in host.proved and sum(start < size for start, _ in ranges) > 1:
            self._note(url, ranges="single")

    def _note(self, url: str, **changes: Any) -> None:
        """Change what is known of a host, here and in the file."""
        host, name = self.host(url), urlsplit(url).netloc
        with self._lock:
            if all(getattr(host, key) == value for key, value in changes.items()):
                return  # another thread was faster
            for key, value in changes.items():
                setattr(host, key, value)
        if "proved" in changes:
            log.info("%s: answers requests for %s", name, " and ".join(host.proved))
        else:
            requested = _REQUESTS[host.ranges].format(host.most_ranges)
            log.info("%s: from now on requesting %s", name, requested)
        known = {"ranges": host.ranges, "proved": host.proved, "most_ranges": host.most_ranges}
        path = self._hosts_path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")), atomic(path) as temporary:
            temporary.write_text(json.dumps(self._read_hosts() | {name: known}, indent=1) + "\n")

    def _read_hosts(self) -> dict[str, dict[str, Any]]:
        return read_kept(self._hosts_path) or {}


def write_at(file: int, piece: bytes, offset: int, url: str) -> None:
    """Write all of a piece of a file at its offset.

    Parameters
    ----------
    file
        Descriptor.
    url
        Address of the file, for error messages.

    Raises
    ------
    DiskFullError
        There is no space left.
    """
    with room_to_write(f"temporary copy of {url}"):
        while piece:
            count = os.pwrite(file, piece, offset)
            piece, offset = piece[count:], offset + count


def _version(size: int, response: requests.Response) -> tuple[object, ...]:
    return (size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


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


def _check_status(url: str, response: requests.Response, ranges: Ranges | None) -> None:
    """Raise an error for a status that is no success."""
    code = response.status_code
    if code == 200 or (code == 206 and ranges):
        return
    if code in (404, 410):
        raise NotFoundError(f"{url}: {code} {response.reason}: no such file")
    # 416: the file is shorter than it was when its size was read.
    transient = code >= 500 or code in (206, 408, 416, 421, 425, 429)
    wait = retry_after_s(response.headers.get("Retry-After"))
    raise RetrievalError(f"{url}: {code} {response.reason}", transient, wait)


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Turn errors of requests, urllib3 and http.client into a `RetrievalError`."""
    try:
        yield
    except (requests.exceptions.SSLError, requests.exceptions.TooManyRedirects) as error:
        raise RetrievalError(f"{url}: {_reason(error)}", transient=False) from None
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
    ) as error:
        transient = not isinstance(error, ValueError)
        raise RetrievalError(f"{url}: {_reason(error)}", transient) from None


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
