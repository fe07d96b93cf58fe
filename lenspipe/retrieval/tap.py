"""A TAP service, asked patiently: synchronous queries while they are quick, jobs otherwise.

https://www.ivoa.net/documents/TAP/20190927/
"""

import contextlib
import io
import re
import time
import warnings
from xml.parsers.expat import ExpatError

import numpy as np
import pyvo
import requests
import urllib3
from astropy.io.votable import parse
from pyvo.dal.tap import AsyncTAPJob, TAPQuery, TAPResults

import lenspipe
from lenspipe.retrieval.retry import patiently, retry_after_s
from lenspipe.utils.errors import NotFoundError, RetrievalError
from lenspipe.utils.progress import log

__all__ = ["TapService"]

#: Time between two looks at a job, seconds: from the first, half as much again each, to the last.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.1, 10.0


class _SlowError(RetrievalError):
    """A synchronous query took longer than the service, or its answer longer than we, allow."""


class TapService:
    """A TAP service that is asked patiently.

    Parameters
    ----------
    address : str
    retrieval : lenspipe.config.data.Retrieval
    """

    def __init__(self, address, retrieval):
        self.address = address.rstrip("/")
        self.retrieval = retrieval
        self.sync = True
        self._session = _Session(retrieval)

    def ask(self, query, most, what):
        """Return the answer to a query.

        Parameters
        ----------
        query : str
            ADQL.
        most : int
            Rows that the service is asked to send at most (``MAXREC``).
        what : str
            What is asked for, for the log.

        Returns
        -------
        found : dict
            Name of the column in lower case -> (N,) array; NULL is NaN, 0 or ''.
        cut_short : bool
            Whether the service says that there is more.

        Raises
        ------
        NotFoundError
            There is no such service.
        RetrievalError
            The service refused the query (not transient), or did not answer it after all tries.
        """
        asked = patiently(self.retrieval)
        if self.sync:
            try:
                found, cut_short = asked(self._sync, query, most)
                if not cut_short:
                    return found, False
                log.info("%s: %s: answer cut short; asked for as a job", self.address, what)
            except _SlowError as error:
                log.info("%s; asked for as a job", error)
            # Jobs are given more time, and often more rows.
            self.sync = False
        return asked(self._job, query, most)

    def close(self):
        """Close all connections."""
        self._session.close()

    def _sync(self, query, most):
        try:
            with self._plain_errors():
                sent = TAPQuery(self.address, query, maxrec=most, session=self._session)
                return self._columns(sent.submit())
        except _SlowError:
            # Asked for as a job, and not once more in the same way.
            text = f"{self.address}: no answer in the time of a synchronous query"
            raise _SlowError(text, transient=False) from None

    def _job(self, query, most):
        job = self._created(query, most)
        with job:  # deletes it at the end
            looked = patiently(self.retrieval)
            try:
                with self._plain_errors():
                    job.run()
                self._wait(job, looked)
                return looked(self._fetch, job)
            except NotFoundError as error:
                raise RetrievalError(f"job has vanished: {error}", transient=True) from None

    def _created(self, query, most):
        try:
            with self._plain_errors():
                return AsyncTAPJob.create(self.address, query, maxrec=most, session=self._session)
        except NotFoundError as error:
            if "/async/" not in str(error):
                raise
            raise RetrievalError(f"job has vanished: {error}", transient=True) from None

    def _wait(self, job, looked):
        """Wait until a job has ended well."""
        end, pause = time.monotonic() + self.retrieval.patience_s, _FIRST_LOOK_S
        while (state := looked(self._look, job)).phase != "COMPLETED":
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
            pause = min(1.5 * pause, _LAST_LOOK_S)

    def _look(self, job):
        with self._plain_errors():
            return job.job

    def _fetch(self, job):
        with self._plain_errors():
            if job.result_uri is None:
                raise pyvo.dal.DALFormatError(reason="job without a result")
            return self._columns(self._session.get(job.result_uri, stream=True))

    def _columns(self, response):
        """Read an answer; a trickle is broken off."""
        begin, body = time.monotonic(), bytearray()
        while piece := response.raw.read1(1 << 16, decode_content=True):
            body += piece
            seconds = time.monotonic() - begin
            least_s = len(body) / (1e3 * self.retrieval.min_kb_per_s)
            if seconds > self.retrieval.timeout_s + least_s:
                text = f"{self.address}: only {len(body)} bytes in {seconds:.0f} s"
                raise RetrievalError(text, transient=True)
        return _columns(response, bytes(body))

    @contextlib.contextmanager
    def _plain_errors(self):
        """Turn the libraries' errors into ours, and drop warnings of answers bent a little."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except pyvo.dal.DALQueryError as error:
            # An error at the end of an answer that began well is none of the query's.
            refused = 400 <= self._session.status < 500
            text = f"{self.address}: the service answers: {_line(error)}"
            raise RetrievalError(text, transient=not refused) from None
        except _ERRORS as error:
            raise self._failure(error) from None

    def _failure(self, error):
        while isinstance(cause := getattr(error, "cause", None), Exception):
            error = cause
        response = getattr(error, "response", None)
        if response is not None:
            text = f"{response.status_code} {response.reason}"
            if response.status_code in (404, 410):
                return NotFoundError(f"{response.url}: {text}")
            kind = _SlowError if response.status_code in (408, 504) else RetrievalError
            transient = response.status_code >= 500 or response.status_code in (408, 425, 429)
            wait = retry_after_s(response.headers.get("Retry-After"))
            return kind(f"{self.address}: {text}", transient, wait)
        network = isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
        kind = type(error).__name__ if network else "unreadable answer"
        text = f"{self.address}: {kind}: {_line(error)}"
        if isinstance(error, requests.ReadTimeout) or "Read timed out" in text:
            return _SlowError(text, transient=True)
        # Those that are ValueErrors, too, are about the address.
        final = isinstance(error, requests.RequestException) and isinstance(error, ValueError)
        final |= isinstance(error, requests.exceptions.SSLError | requests.TooManyRedirects)
        return RetrievalError(text, transient=not final)


#: What goes wrong on the way or with the answer: pyvo's errors, those of its libraries, bad XML.
_ERRORS = (
    pyvo.dal.DALAccessError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ExpatError,
    ValueError,
)


class _Session(requests.Session):
    """Requests with a time limit and our name; raises where a server can't answer."""

    def __init__(self, retrieval):
        super().__init__()
        self.headers["User-Agent"] = f"lenspipe/{lenspipe.__version__} ({retrieval.contact})"
        self.timeout_s, self.status = retrieval.timeout_s, 0
        self._last = None

    def request(self, method, url, **options):
        self._forget()
        response = super().request(method, url, **options | {"timeout": self.timeout_s})
        self._last = response
        self.status = response.status_code
        # An error in the query is a VOTable, in a job that is gone a page: pyvo knows both.
        if self.status >= 500 or self.status == 429:
            response.raise_for_status()
        return response

    def close(self):
        self._forget()
        super().close()

    def _forget(self):
        """Free the connection of an answer that nobody read to its end."""
        if self._last is not None:
            self._last.close()


def _line(error):
    """Put an error into a line that is the same each time."""
    return " ".join(re.sub(r"<[^<>]* at 0x\w+>:?", "", str(error)).split())[:300]


def _columns(response, content):
    """Read an answer: name -> array, and whether it was cut short."""
    try:
        votable = parse(io.BytesIO(content))
    except Exception as error:
        response.raise_for_status()
        raise pyvo.dal.DALFormatError(error, response.url) from None
    result = TAPResults(votable, url=response.url)
    table = result.to_table()
    found = {name.lower(): _plain(name.lower(), table[name]) for name in table.colnames}
    return found, (result.query_status or "").upper() == "OVERFLOW"


def _plain(name, column):
    """Turn a column into an array of the type that a catalogue has."""
    values = np.ma.asarray(column)
    if values.dtype.kind in "OSU":
        return np.array([str(value) for value in values.filled("")], dtype=str)
    if values.dtype.kind == "f":
        return values.filled(np.nan).astype(np.float64 if name in ("ra", "dec") else np.float32)
    return values.filled(0)
