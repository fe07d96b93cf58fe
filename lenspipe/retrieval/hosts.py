"""What is known of servers, for all jobs that share a file: what they answer, when to ask again.

When a server can't be reached or asks for fewer requests (429, 503), no job asks it before a time
that all agree on: that of ``Retry-After``, or one that is later with each failure in a row.
"""

import contextlib
import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.retrieval.ranges import MAX_RANGES, Link
from lenspipe.retrieval.retry import backoff_s
from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.progress import log

__all__ = ["Host", "Hosts"]

#: What is requested from a server, for the log.
_REQUESTS = {
    "several": "up to {} ranges at once",
    "single": "one range at a time",
    "none": "whole files",
}

#: A server without failures for this long is taken to have recovered, seconds.
_FORGET_S = 1800.0

#: Longest time for which a server's ``Retry-After`` is remembered, seconds.
_LONGEST_S = 86400.0

#: A server that answers 429 without ``Retry-After`` is left alone for this many times the usual
#: wait: for half a minute at first.
_LIMITED = 32

#: Time between two requests to a server that has answered 429, seconds: the first and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 60.0

#: By how much that time grows with each 429, and shrinks with each answer.
_SLOWER, _FASTER = 2.0, 0.97

#: A longer wait for a server's turn is noted in the log, seconds.
_NOTED_S = 5.0

#: Keys of a host that are not written to the file.
_IN_MEMORY = ("link",)


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
    pause_s
        Minimum time between two requests of all jobs, seconds.
    next_at
        Before this time it is not asked; times are in seconds since 1970.
    failures
        Number of times in a row that it was unavailable.
    failed_since, failed_at
        Times of the first and last of these.
    link
        Speed of this job's connections.
    """

    ranges: str = "several"
    proved: tuple[str, ...] = ()
    most_ranges: int = MAX_RANGES
    pause_s: float = 0.0
    next_at: float = 0.0
    failures: int = 0
    failed_since: float = 0.0
    failed_at: float = 0.0
    link: Link = dataclasses.field(default_factory=Link)


class Hosts:
    """All that is known of servers.

    Parameters
    ----------
    path
        JSON file, host -> what is known, for all jobs.
    retrieval
        Its ``attempts`` and ``patience_s`` say when a server that stays unavailable is given up.
    pause_s
        Minimum time between two requests to a server, seconds, whatever it answers.
    """

    def __init__(
        self, path: str | os.PathLike[str], retrieval: Retrieval, pause_s: float = 0.0
    ) -> None:
        self.path = Path(path)
        self.retrieval, self.pause_s = retrieval, pause_s
        self._hosts: dict[str, Host] = {}
        self._seen: tuple[int, int] | None = None
        self._lock = threading.RLock()

    def host(self, url: str) -> Host:
        """Return what is known of the server of an address."""
        with self._lock:
            self._refresh()
            return self._hosts.setdefault(_name(url), Host())

    def note(self, url: str, **changes: Any) -> None:
        """Note what a server answers."""
        with self._change(url) as host:
            if all(getattr(host, key) == value for key, value in changes.items()):
                return  # another thread or job was faster
            for key, value in changes.items():
                setattr(host, key, value)
        if "proved" in changes:
            log.info("%s: answers requests for %s", _name(url), " and ".join(host.proved))
        else:
            requested = _REQUESTS[host.ranges].format(host.most_ranges)
            log.info("%s: from now on requesting %s", _name(url), requested)

    def wait_turn(self, url: str) -> float:
        """Wait until the server may be asked, and return the time.

        Raises
        ------
        UnavailableError
            That is not within the time for which a server is waited for.
        """
        host, now = self.host(url), time.time()
        pause_s = max(host.pause_s, self.pause_s)
        if not pause_s and host.next_at <= now:
            return now
        with self._change(url) as host:
            start = max(now, host.next_at)
            if start - now > self.retrieval.patience_s:
                until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start))
                raise UnavailableError(
                    f"{_name(url)}: not asked before {until}, as it requested; run again then",
                    math.inf,
                )
            if pause_s:
                host.next_at = start + pause_s
        if start - now > _NOTED_S:
            log.info("%s: the next request in %.0f s", _name(url), start - now)
        time.sleep(start - now)
        return start

    def note_success(self, url: str) -> None:
        """Note that a server has answered; one that was too busy is asked a little more often."""
        host = self.host(url)
        if not host.failures and host.pause_s <= self.pause_s:
            return
        with self._change(url) as host:
            host.failures, host.failed_since = 0, 0.0
            host.pause_s *= _FASTER
            if host.pause_s < max(self.pause_s, _FIRST_PAUSE_S):
                host.pause_s = 0.0

    def note_failure(self, url: str, error: UnavailableError, asked_at: float) -> None:
        """Note that a server is unavailable, and how long to wait in the error.

        Parameters
        ----------
        asked_at
            Time of the request. Of requests that were sent together only one counts.
        """
        now = time.time()
        with self._change(url) as host:
            wait = error.retry_after_s
            if asked_at >= host.failed_at:
                if now - host.failed_at > _FORGET_S:
                    host.failures = 0
                if not host.failures:
                    host.failed_since = now
                host.failures += 1
                host.failed_at = now
                unsaid = error.limited and not wait
                wait = max(wait, backoff_s(host.failures, _LIMITED if unsaid else 1))
                if error.limited:
                    slower = max(_SLOWER * max(host.pause_s, self.pause_s), _FIRST_PAUSE_S)
                    host.pause_s = min(slower, _LONGEST_PAUSE_S)
            next_at = max(host.next_at, now + wait)
            attempts = self.retrieval.attempts or math.inf
            is_patient = next_at - host.failed_since <= self.retrieval.patience_s
            if is_patient and host.failures < attempts:
                host.next_at, error.retry_after_s = next_at, next_at - now
            else:
                # Given up: who asks later asks once, but not before the server allows it.
                host.next_at = max(host.next_at, now + min(error.retry_after_s, _LONGEST_S))
                error.retry_after_s = math.inf

    @contextlib.contextmanager
    def _change(self, url: str) -> Iterator[Host]:
        """Change what is known of a server, here and in the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, FileLock(self.path.with_suffix(".lock")):
            host = self.host(url)
            before = dataclasses.replace(host)
            yield host
            if host == before:
                return
            known = {
                name: {k: v for k, v in dataclasses.asdict(each).items() if k not in _IN_MEMORY}
                for name, each in self._hosts.items()
            }
            with atomic(self.path) as temporary:
                temporary.write_text(json.dumps(known, indent=1) + "\n")
            self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _refresh(self) -> None:
        """Read the file if another job has changed it."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        for name, known in (read_kept(self.path) or {}).items():
            host = self._hosts.setdefault(name, Host())
            for key, value in known.items():
                setattr(host, key, tuple(value) if key == "proved" else value)


def _name(url: str) -> str:
    """Host and port of an address."""
    return urlsplit(url).netloc.rpartition("@")[2]
