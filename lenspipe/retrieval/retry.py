"""Which failures are retried, when and how often."""

import email.utils
import time
from typing import cast

import tenacity

from lenspipe.config.data import Retrieval
from lenspipe.utils.errors import RetrievalError
from lenspipe.utils.progress import log

__all__ = ["retry_after_s", "retrying"]

#: Waits are drawn from 0 to the first times 1, 2, 4, ... seconds, and never above the maximum.
_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 60.0


def retrying(
    retrieval: Retrieval, error_type: type[RetrievalError] = RetrievalError
) -> tenacity.Retrying:
    """Return a caller that calls a function until it succeeds, fails for good, or time is up.

    Waits grow exponentially with jitter, and are at least as long as a server asks for. Each is
    noted in the log.

    Parameters
    ----------
    retrieval
        Its ``attempts`` and ``patience_s`` are the limits.
    error_type
        Errors that are retried, if their ``transient`` is true.

    Returns
    -------
    tenacity.Retrying
        To be called with a function and its arguments; raises the function's last error.
    """
    backoff = tenacity.wait_random_exponential(_FIRST_WAIT_S, max=_MAX_WAIT_S)

    def wait(state: tenacity.RetryCallState) -> float:
        return max(backoff(state), _error_of(state).retry_after_s)

    def report(state: tenacity.RetryCallState) -> None:
        log.info(
            "%s; try %d of %d in %.1f s",
            _error_of(state),
            state.attempt_number + 1,
            retrieval.attempts,
            state.upcoming_sleep,
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, error_type) and error.transient
        ),
        stop=tenacity.stop_after_attempt(retrieval.attempts)
        | tenacity.stop_before_delay(retrieval.patience_s),
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
    except ValueError:
        return 0.0
