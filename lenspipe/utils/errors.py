"""The exceptions that lenspipe raises for something its user can mend, or has to know."""

__all__ = ["DiskFullError", "LenspipeError", "NotFoundError", "RetrievalError"]


class LenspipeError(Exception):
    """Bad input, said in one line: which file or key, what was found, expected, and what to do.

    Scripts and the command line print its text without a traceback.
    """


class DiskFullError(LenspipeError):
    """There is no room to write; nothing that follows could succeed."""


class RetrievalError(LenspipeError):
    """A server did not give what it was asked for.

    Parameters
    ----------
    message : str
        The line.
    transient : bool
        Whether a later run may succeed (5xx, timeouts, resets), or not (404, damaged files).
    retry_after_s : float
        How long the server asks to be left alone, seconds.
    """

    def __init__(self, message, transient, retry_after_s=0.0):
        super().__init__(message)
        self.transient = transient
        self.retry_after_s = retry_after_s


class NotFoundError(RetrievalError):
    """The server says that there is no such file."""

    def __init__(self, message):
        super().__init__(message, transient=False)
