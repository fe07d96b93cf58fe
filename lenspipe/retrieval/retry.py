"""What is tried again, when and how often."""

import email.utils
import time

import tenacity

from lenspipe.utils.errors import RetrievalError
from lenspipe.utils.progress import log

__all__ = ["patiently", "retry_after_s"]

#: Waits are drawn from 0 to the first times 1, 2, 4, ... seconds, and never above the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0


def patiently(retrieval, kind=RetrievalError):
    """Return what calls a function until it succeeds, fails for good, or patience ends.

    Waits grow exponentially with jitter, and are at least those that a server asks for. Each is
    said in the log.

    Parameters
    ----------
    retrieval : lenspipe.config.data.Retrieval
    kind : type
        `RetrievalError`, or one of its subclasses if only that is to be tried again.

    Returns
    -------
    tenacity.Retrying
        To be called with a function and its arguments. It raises the function's last error:
        `RetrievalError`s whose ``transient`` is true have been tried again, others not.
    """
    backoff = tenacity.wait_random_exponential(_FIRST_WAIT_S, max=_LONGEST_WAIT_S)

    def wait(state):
        return max(backoff(state), state.outcome.exception().retry_after_s)

    def say(state):
        log.info(
            "%s; try %d of %d in %.1f s",
            state.outcome.exception(),
            state.attempt_number + 1,
            retrieval.attempts,
            state.next_action.sleep,
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, kind) and error.transient
        ),
        stop=tenacity.stop_after_attempt(retrieval.attempts)
        | tenacity.stop_before_delay(retrieval.patience_s),
        wait=wait,
        before_sleep=say,
        reraise=True,
    )


def retry_after_s(value):
    """Read the header ``Retry-After`` (RFC 9110, section 10.2.3).

    Parameters
    ----------
    value : str or None

    Returns
    -------
    float
        Seconds; 0 where nothing is asked for, or nothing that can be understood.
    """
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
