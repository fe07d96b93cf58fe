"""A TAP service, with retries: synchronous queries while they are quick, jobs otherwise.

https://www.ivoa.net/documents/TAP/20190927/
"""

import contextlib
import io
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.parsers.expat import ExpatError

import numpy as np
import pyvo
import requests
import tenacity
import urllib3
from astropy.io.votable import parse
from pyvo.dal.tap import AsyncTAPJob, TAPQuery, TAPResults

import lenspipe
from lenspipe.config.data import Retrieval
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.retrieval.hosts import Hosts
from lenspipe.retrieval.http import basic_auth
from lenspipe.retrieval.retry import retry_after_s, retrying
from lenspipe.utils.errors import NotFoundError, RetrievalError
from lenspipe.utils.progress import log

__all__ = ["TapService"]

#: Time between two polls of a job, seconds: each is 1.5 times the one before, up to the maximum.
_FIRST_POLL_S, _MAX_POLL_S = 0.1, 10.0

#: Name of a column in lower case -> (N,) array; NULL is NaN, 0 or ''.
Columns = dict[str, np.ndarray]


class _SlowError(RetrievalError):
    """A synchronous query took longer than the service allows, or than we wait for an answer."""


class TapService:
    """A TAP service whose failures are retried."""

    def __init__(self, address: str, retrieval: Retrieval) -> None:
        self.address = address.rstrip("/")
        self.retrieval = retrieval
        self.sync = True
        hosts = Hosts(Path(retrieval.cache) / "hosts.json", retrieval)
        self._session = _Session(self.address, retrieval, hosts)

    def ask(self, query: str, max_rows: int, description: str) -> tuple[Columns, bool]:
        """Return the answer to a query.

        Parameters
        ----------
        query
            ADQL.
        max_rows
            Maximum number of rows that the service is asked to send (``MAXREC``).
        description
            Of the query, for the log.

        Returns
        -------
        columns
        cut_short
            Whether the service says that there are more rows.

        Raises
        ------
        NotFoundError
            There is no such service.
        RetrievalError
            The service refused the query (not transient), or did not answer it after all retries.
        """
        retry = retrying(self.retrieval)
        if self.sync:
            try:
                columns, cut_short = retry(self._ask_sync, query, max_rows)
                if not cut_short:
                    return columns, False
                log.info("%s: %s: answer cut short; asking by a job", self.address, description)
            except _SlowError as error:
                log.info("%s; asking by a job", error)
            # Jobs are given more time, and often more rows.
            self.sync = False
        return retry(self._ask_by_job, query, max_rows)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _ask_sync(self, query: str, max_rows: int) -> tuple[Columns, bool]:
        try:
            with self._plain_errors():
                tap_query = TAPQuery(self.address, query, maxrec=max_rows, session=self._session)
                return self._read_answer(tap_query.submit())
        except _SlowError:
            # To be asked by a job, and not once more in the same way.
            text = f"{self.address}: no answer within the time of a synchronous query"
            raise _SlowError(text, transient=False) from None

    def _ask_by_job(self, query: str, max_rows: int) -> tuple[Columns, bool]:
        job = self._create_job(query, max_rows)
        with job:  # deletes it at the end
            retry = retrying(self.retrieval)
            try:
                with self._plain_errors():
                    job.run()
                self._wait(job, retry)
                return retry(self._fetch, job)
            except NotFoundError as error:
                raise RetrievalError(f"job has vanished: {error}", transient=True) from None

    def _create_job(self, query: str, max_rows: int) -> AsyncTAPJob:
        try:
            with self._plain_errors():
                return AsyncTAPJob.create(
                    self.address, query, maxrec=max_rows, session=self._session
                )
        except NotFoundError as error:
            if "/async/" not in str(error):
                raise
            raise RetrievalError(f"job has vanished: {error}", transient=True) from None

    def _wait(self, job: AsyncTAPJob, retry: tenacity.Retrying) -> None:
        """Wait until a job has completed."""
        end, pause = time.monotonic() + self.retrieval.patience_s, _FIRST_POLL_S
        while (state := retry(self._poll, job)).phase != "COMPLETED":
            if state.phase in ("ERROR", "ABORTED"):
                summary = state.errorsummary
                reason = summary.message.content if summary and summary.message else "no reason"
                reason = f"job ended in phase {state.phase}: {_line(reason)}"
                raise RetrievalError(f"{self.address}: {reason}", transient=True)
            if time.monotonic() > end:
                raise RetrievalError(
                    f"{self.address}: job in phase {state.phase} for {self.retrieval.patience_s:g} "
                    "s; run again later or raise config key retrieval.patience_s",
                    transient=True,
                )
            time.sleep(pause)
            pause = min(1.5 * pause, _MAX_POLL_S)

    def _poll(self, job: AsyncTAPJob) -> Any:
        with self._plain_errors():
            return job.job

    def _fetch(self, job: AsyncTAPJob) -> tuple[Columns, bool]:
        with self._plain_errors():
            if job.result_uri is None:
                raise pyvo.dal.DALFormatError(reason="job without a result")
            return self._read_answer(self._session.get(job.result_uri, stream=True))

    def _read_answer(self, response: requests.Response) -> tuple[Columns, bool]:
        """Read an answer; a transfer that is too slow is aborted."""
        begin, body = time.monotonic(), bytearray()
        while piece := response.raw.read1(1 << 16, decode_content=True):
            body += piece
            seconds = time.monotonic() - begin
            allowed_s = len(body) / (1e3 * self.retrieval.min_kb_per_s)
            if seconds > self.retrieval.timeout_s + allowed_s:
                text = f"{self.address}: only {len(body)} bytes in {seconds:.0f} s"
                raise RetrievalError(text, transient=True)
        return _parse_answer(response, bytes(body))

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turn errors of libraries into a `RetrievalError`; ignore warnings about the format."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except pyvo.dal.DALQueryError as error:
            # An error at the end of an answer that began well is not due to the query.
            refused = 400 <= self._session.status < 500
            text = f"{self.address}: the service answers: {_line(error)}"
            raise RetrievalError(text, transient=not refused) from None
        except _ERRORS as error:
            plain = self._retrieval_error(error)
            if isinstance(plain, UnavailableError):
                hosts, asked_at = self._session.hosts, self._session.asked_at
                hosts.note_failure(self.address, plain, asked_at)
            raise plain from None

    def _retrieval_error(self, error: Exception) -> RetrievalError:
        while isinstance(cause := getattr(error, "cause", None), Exception):
            error = cause
        response = getattr(error, "response", None)
        if response is not None:
            text = f"{response.status_code} {response.reason}"
            if response.status_code in (404, 410):
                return NotFoundError(f"{response.url}: {text}")
            text = f"{self.address}: {text}"
            wait = retry_after_s(response.headers.get("Retry-After"))
            if response.status_code in (429, 502, 503):
                return UnavailableError(text, wait, limited=response.status_code == 429)
            is_slow = response.status_code in (408, 504)
            error_type = _SlowError if is_slow else RetrievalError
            transient = response.status_code >= 500 or response.status_code in (408, 425)
            return error_type(text, transient, wait)
        network = isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
        problem = type(error).__name__ if network else "unreadable answer"
        text = f"{self.address}: {problem}: {_line(error)}"
        if isinstance(error, requests.ReadTimeout) or "Read timed out" in text:
            return _SlowError(text, transient=True)
        # Errors that are ValueErrors as well concern the address.
        final = isinstance(error, requests.RequestException) and isinstance(error, ValueError)
        final |= isinstance(error, requests.exceptions.SSLError | requests.TooManyRedirects)
        if isinstance(error, requests.ConnectionError) and not final:
            return UnavailableError(text)
        return RetrievalError(text, transient=not final)


#: Errors of the transfer or in the answer: pyvo's, those of its libraries, bad XML.
_ERRORS = (
    pyvo.dal.DALAccessError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ExpatError,
    ValueError,
)


class _Session(requests.Session):
    """Requests with a time limit and lenspipe's name; raises if a server cannot answer."""

    def __init__(self, address: str, retrieval: Retrieval, hosts: Hosts) -> None:
        super().__init__()
        self.address, self.hosts, self.asked_at = address, hosts, 0.0
        secret = retrieval.credentials_for(address)
        self.auth = basic_auth(secret)
        self.params = dict(parse_qsl(secret.query))
        self.headers["User-Agent"] = f"lenspipe/{lenspipe.__version__} ({retrieval.contact})"
        self.timeout_s, self.status = retrieval.timeout_s, 0
        self._last: requests.Response | None = None

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        self._close_last()
        self.asked_at = self.hosts.wait_turn(self.address)
        response = super().request(method, url, *args, **options | {"timeout": self.timeout_s})
        self._last = response
        self.status = response.status_code
        # pyvo reads other errors: the VOTable for a wrong query, the page for a vanished job.
        if self.status >= 500 or self.status == 429:
            response.raise_for_status()
        self.hosts.note_success(self.address)
        return response

    def close(self) -> None:
        self._close_last()
        super().close()

    def _close_last(self) -> None:
        """Free the connection of an answer that was not read to its end."""
        if self._last is not None:
            self._last.close()


def _line(error: object) -> str:
    """Put an error into one line that is the same each time."""
    return " ".join(re.sub(r"<[^<>]* at 0x\w+>:?", "", str(error)).split())[:300]


def _parse_answer(response: requests.Response, content: bytes) -> tuple[Columns, bool]:
    """Read the columns of an answer, and whether it was cut short."""
    try:
        votable = parse(io.BytesIO(content))
    except Exception as error:
        response.raise_for_status()
        raise pyvo.dal.DALFormatError(error, response.url) from None
    result = TAPResults(votable, url=response.url)
    table = result.to_table()
    columns = {name.lower(): _to_array(name.lower(), table[name]) for name in table.colnames}
    return columns, (result.query_status or "").upper() == "OVERFLOW"


def _to_array(name: str, column: np.ndarray) -> np.ndarray:
    """Turn a column into an array of the type that it has in a catalogue."""
    values = np.ma.asarray(column)
    if values.dtype.kind in "OSU":
        return np.array([str(value) for value in values.filled("")], dtype=str)
    if values.dtype.kind == "f":
        return values.filled(np.nan).astype(np.float64 if name in ("ra", "dec") else np.float32)
    return values.filled(0)
