"""Ranges of bytes and whole files over HTTP, whatever the server makes of the request."""

import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock
from requests.adapters import HTTPAdapter

import lenspipe
from lenspipe.retrieval.multipart import Pieces, labels
from lenspipe.retrieval.ranges import MOST_RANGES, Link
from lenspipe.retrieval.retry import patiently, retry_after_s
from lenspipe.utils.errors import NotFoundError, RetrievalError
from lenspipe.utils.files import atomic, room_to_write
from lenspipe.utils.progress import log

__all__ = ["Host", "HttpTransport", "Received", "write_at"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)$")

#: Bytes handed over at a time. With smaller pieces threads wait for the interpreter more often.
_PIECE = 1 << 20

#: Bodies above this say how fast a connection is, bytes.
_LARGE = 1 << 18

#: Below this many ranges in a request a server is treated as one that knows single ranges only.
_FEWEST_RANGES = 8

#: How a server is asked, in words.
_WAYS = {
    "several": "up to {} ranges at once",
    "single": "one range at a time",
    "none": "whole files",
}

#: Weight of the last measurement in a host's latency and speed.
_WEIGHT = 0.2


@dataclasses.dataclass
class Received:
    """What has come of a file.

    Attributes
    ----------
    size : int
        Of the whole file, bytes.
    version : tuple
        Size, ETag and Last-Modified: the same as long as the file is.
    ranges : list of tuple of int
        (start, stop) of the bytes received.
    """

    size: int
    version: tuple
    ranges: list


@dataclasses.dataclass
class Host:
    """What has been learnt of a server.

    Attributes
    ----------
    ranges : {'several', 'single', 'none'}
        What it answers: requests for several ranges, for one, or only whole files.
    proved : tuple of str
        Which of these it has been seen to answer.
    most_ranges : int
        How many ranges it takes in a request.
    """

    ranges: str = "several"
    proved: tuple = ()
    most_ranges: int = MOST_RANGES
    link: Link = dataclasses.field(default_factory=Link)


class HttpTransport:
    """Reads over HTTP with a pool of connections that are kept open.

    Parameters
    ----------
    retrieval : lenspipe.config.data.Retrieval
    lessons : str or path-like
        JSON file that keeps how each server answers, for all jobs of a run.
    """

    def __init__(self, retrieval, lessons):
        self.retrieval = retrieval
        self.lessons = Path(lessons)
        self.bytes = self.requests = 0
        self._hosts = {name: Host(**lesson) for name, lesson in self._lessons().items()}
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.headers["User-Agent"] = (
            f"lenspipe/{lenspipe.__version__} ({retrieval.contact})"
        )
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = HTTPAdapter(pool_maxsize=retrieval.connections, pool_block=True)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self):
        """Close all connections."""
        self._session.close()

    def host(self, url):
        """Return what is known of the server of an address.

        Parameters
        ----------
        url : str

        Returns
        -------
        Host
        """
        with self._lock:
            return self._hosts.setdefault(urlsplit(url).netloc, Host())

    def read(self, url, ranges, file):
        """Read ranges of a file, or all of it, and write them at their offsets.

        Parameters
        ----------
        url : str
        ranges : list of tuple of int or None
            (start, stop), sorted and disjoint; None for the whole file.
        file : int
            Descriptor of a local file, open to write.

        Returns
        -------
        Received
            Its ranges may be more than asked for, where the server ignores ranges, or fewer, where
            it knows one at a time; never none.

        Raises
        ------
        NotFoundError
            There is no such file.
        RetrievalError
            The server did not give it, after all tries.
        DiskFullError
            There is no space left.
        """
        return patiently(self.retrieval)(self.read_once, url, ranges, file)

    def read_once(self, url, ranges, file):
        """As `read`, without trying again."""
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
            latency, middle = time.monotonic() - begin, time.monotonic()
            _check_status(url, response, ranges)
            take = self._take_ranges if response.status_code == 206 else self._take_all
            received, count = take(url, ranges, response, file)
        self._measure(url, latency, count, time.monotonic() - middle)
        return received

    def _take_all(self, url, ranges, response, file):
        """Write a body that is the whole file."""
        size, declared = 0, response.headers.get("Content-Length")
        for piece in self._pieces(response):
            write_at(file, piece, size, url)
            size += len(piece)
        if declared is not None and str(size) != declared:
            raise RetrievalError(f"{url}: {size} bytes, announced {declared}", transient=True)
        # An earlier try may have met a longer file.
        os.ftruncate(file, size)
        if ranges:
            self._learn_ignored(url, ranges)
        return Received(size, _version(size, response), [(0, size)]), size

    def _take_ranges(self, url, ranges, response, file):
        """Write a body of one or several ranges."""
        kind = response.headers.get("Content-Type", "")
        several = kind.lower().startswith("multipart/byteranges")
        got, size = [], None
        starts, stops = ({range[end] for range in ranges} for end in (0, 1))
        with io.BufferedReader(Pieces(self._pieces(response)), _PIECE) as body:
            plain = [response.headers.get("Content-Range", "")]
            for label in labels(url, body, kind) if several else plain:
                start, stop, size = _check_range(url, label, starts, stops, size)
                offset = start
                while piece := body.read1(min(_PIECE, stop - offset)):
                    write_at(file, piece, offset, url)
                    offset += len(piece)
                if offset < stop:
                    raise RetrievalError(f"{url}: {label!r} ends at byte {offset}", transient=True)
                got.append((start, stop))
            if not got or (body.read(1) and not several):
                raise RetrievalError(f"{url}: not the ranges that it says", transient=True)
        self._learn_ranges(url, ranges, size, several)
        count = sum(stop - start for start, stop in got)
        return Received(size, _version(size, response), got), count

    def _pieces(self, response):
        """Yield a body as it comes; a trickle is broken off."""
        begin = time.monotonic()
        count = 0
        while piece := response.raw.read1(_PIECE):
            count += len(piece)
            with self._lock:
                self.bytes += len(piece)
            yield piece
            seconds = time.monotonic() - begin
            if seconds > self.retrieval.timeout_s + count / (1e3 * self.retrieval.min_kb_per_s):
                raise RetrievalError(
                    f"{response.url}: only {count} bytes in {seconds:.0f} s", transient=True
                )

    def _measure(self, url, latency, count, seconds):
        """Follow what a request costs; small bodies say nothing of the speed."""
        link = self.host(url).link
        with self._lock:
            self.requests += 1
            link.latency_s += _WEIGHT * (latency - link.latency_s)
            if count > _LARGE and seconds > 0:
                link.bytes_per_s += _WEIGHT * (count / seconds - link.bytes_per_s)

    def _learn_ignored(self, url, ranges):
        """Learn from the whole file where ranges were asked for."""
        host = self.host(url)
        if len(ranges) == 1:
            if "single" not in host.proved:
                self._learn(url, ranges="none")
        elif "several" not in host.proved or len(ranges) // 2 < _FEWEST_RANGES:
            self._learn(url, ranges="single")
        else:
            self._learn(url, most_ranges=len(ranges) // 2)

    def _learn_ranges(self, url, ranges, size, several):
        """Learn from an answer of ranges."""
        host = self.host(url)
        if several or len(ranges) == 1:
            way = "several" if several else "single"
            if way not in host.proved:
                self._learn(url, proved=(*host.proved, way))
        elif "several" not in host.proved and sum(start < size for start, _ in ranges) > 1:
            self._learn(url, ranges="single")

    def _learn(self, url, **lessons):
        host, name = self.host(url), urlsplit(url).netloc
        with self._lock:
            if all(getattr(host, key) == value for key, value in lessons.items()):
                return  # another thread was faster
            for key, value in lessons.items():
                setattr(host, key, value)
        if "proved" in lessons:
            log.info("%s: answers requests for %s", name, " and ".join(host.proved))
        else:
            log.info(
                "%s: from now on asked for %s", name, _WAYS[host.ranges].format(host.most_ranges)
            )
        keep = {"ranges": host.ranges, "proved": host.proved, "most_ranges": host.most_ranges}
        self.lessons.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lessons.with_suffix(".lock")), atomic(self.lessons) as temporary:
            temporary.write_text(json.dumps(self._lessons() | {name: keep}, indent=1) + "\n")

    def _lessons(self):
        return json.loads(self.lessons.read_text()) if self.lessons.exists() else {}


def write_at(file, piece, offset, url):
    """Write all of a piece of a file at its place.

    Parameters
    ----------
    file : int
        Descriptor.
    piece : bytes
    offset : int
    url : str
        Of which file it is a piece.

    Raises
    ------
    DiskFullError
        There is no space left.
    """
    with room_to_write(f"temporary copy of {url}"):
        while piece:
            count = os.pwrite(file, piece, offset)
            piece, offset = piece[count:], offset + count


def _version(size, response):
    return (size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _check_range(url, label, starts, stops, size):
    """Return start, stop and size of the file that an answer names, if they were asked for."""
    match = _CONTENT_RANGE.match(label)
    start, last, total = map(int, match.groups()) if match else (0, -1, 0)
    stop = last + 1
    # What was asked for may reach beyond the end; touching ranges may come as one.
    ends = stop in stops or (stop == total and max(stops) > total)
    if (
        start >= stop
        or stop > total
        or start not in starts
        or not ends
        or size not in (None, total)
    ):
        asked = f"{len(starts)} ranges from {min(starts)} to {max(stops)}"
        raise RetrievalError(f"{url}: answered with {label!r}, asked for {asked}", transient=True)
    return start, stop, total


def _check_status(url, response, ranges):
    """Raise what an answer that is none means."""
    code = response.status_code
    if code == 200 or (code == 206 and ranges):
        return
    if code in (404, 410):
        raise NotFoundError(f"{url}: {code} {response.reason}: no such file")
    # 416: shorter than it was when its size was learnt.
    transient = code >= 500 or code in (206, 408, 416, 421, 425, 429)
    wait = retry_after_s(response.headers.get("Retry-After"))
    raise RetrievalError(f"{url}: {code} {response.reason}", transient, wait)


@contextlib.contextmanager
def _plain_errors(url):
    """Turn the libraries' errors into ours."""
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


def _reason(error):
    """Name what is at the bottom of a library's error, in a few words."""
    while isinstance(inner := next(iter(error.args), None), Exception) or (
        inner := getattr(error, "reason", None)
    ):
        if not isinstance(inner, Exception):
            break
        error = inner
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
