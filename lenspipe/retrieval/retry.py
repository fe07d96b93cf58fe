"""Which failures are retried, when and how often."""

import email.utils
import random
import time
from typing import cast

import tenacity

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.utils.errors import RetrievalError
from lenspipe.utils.progress import log

__all__ = ["backoff_s", "retry_after_s", "retrying"]

#: Waits are about 1, 2, 4, ... times the first, and never above the maximum, seconds.
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 300.0


def backoff_s(failures: int, factor: float = 1.0) -> float:
    """Return how long to wait after a number of failures in a row, seconds.

    Between half and all of a time that doubles with each failure, so that jobs that failed together
    do not all ask again together.
    """
    longest = min(factor * _FIRST_WAIT_S * 2.0 ** min(failures - 1, 30), _MAX_WAIT_S)
    return random.uniform(0.5, 1.0) * longest


def retrying(
    retrieval: Retrieval,
    error_type: type[RetrievalError] = RetrievalError,
    attempts: int | None = None,
) -> tenacity.Retrying:
    """Return a caller that calls a function until it succeeds, fails for good, or time is up.

    Waits grow with each failure, and are at least as long as a server asks for. Each is noted in
    the log.

    Parameters
    ----------
    retrieval
        Its ``attempts`` and ``patience_s`` are the limits.
    error_type
        Errors that are retried, if their ``transient`` is true.
    attempts
        A further limit to the number of attempts.

    Returns
    -------
    tenacity.Retrying
        To be called with a function and its arguments; raises the function's last error.
    """
    limits = [limit for limit in (retrieval.attempts, attempts) if limit]

    def wait(state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        if isinstance(error, UnavailableError):
            return error.retry_after_s
        return max(error.retry_after_s, backoff_s(state.attempt_number))

    def report(state: tenacity.RetryCallState) -> None:
        number = f"{state.attempt_number + 1}" + (f" of {min(limits)}" if limits else "")
        log.info("%s; try %s in %.1f s", _error_of(state), number, state.upcoming_sleep)

    stop = tenacity.stop_before_delay(retrieval.patience_s)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, error_type) and error.transient
        ),
        stop=stop | tenacity.stop_after_attempt(min(limits)) if limits else stop,
        wait=wait,
        before_sleep=report,
        reraise=True,
    )


def _error_of(state: tenacity.RetryCallState) -> RetrievalError:
    outcome = cast(tenacity.Future, state.outcome)
    return cast(RetrievalError, outcome.exception())


def retry_after_s(value: str | None) -> float:
    """Read the header ``Retry-After`` (RFC 9110, section 10.2.3).

    Returns
    -------
    float
        Seconds; 0 if the header is absent or cannot be understood.
    """
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
