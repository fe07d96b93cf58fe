"""Exceptions for problems that a user can solve or has to know about."""

from lenspipe.utils.addresses import without_credentials

__all__ = ["DiskFullError", "LenspipeError", "NotFoundError", "RetrievalError"]


class LenspipeError(Exception):
    """Bad input, described in one line: file or key, found, expected, and what to do.

    Scripts and the command line print its text without a traceback. Credentials of addresses in the
    text are removed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class DiskFullError(LenspipeError):
    """The disk is full; nothing that follows could succeed."""


class RetrievalError(LenspipeError):
    """A server did not deliver a requested file.

    Parameters
    ----------
    transient
        Whether a later run may succeed (5xx, timeouts, resets), or not (404, damaged files).
    retry_after_s
        How long the server asks clients to wait, seconds.
    """

    def __init__(self, message: str, transient: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_s = retry_after_s


class NotFoundError(RetrievalError):
    """The server has no such file."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=False)
