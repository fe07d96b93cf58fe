"""Errors of servers, and of files that were retrieved."""

import contextlib
import os
from collections.abc import Iterator

from lenspipe.utils.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.utils.files import is_remote

__all__ = ["UnavailableError", "fetched"]


class UnavailableError(RetrievalError):
    """The server can't be reached, or can't answer any request at present.

    Parameters
    ----------
    limited
        Whether it has answered that requests are too many (429).
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, limited: bool = False) -> None:
        super().__init__(message, transient=True, retry_after_s=retry_after_s)
        self.limited = limited


@contextlib.contextmanager
def fetched(path: str | os.PathLike[str]) -> Iterator[None]:
    """Read, in the block, a file fetched from an address; errors then name the address.

    Parameters
    ----------
    path
        The requested path or address.

    Raises
    ------
    RetrievalError
        The block could not read a remote file; a later run will not succeed either.
    LenspipeError
        The block could not read a local file.
    """
    try:
        yield
    except LenspipeError as error:
        if isinstance(error, DiskFullError | RetrievalError) or not is_remote(path):
            raise
        raise RetrievalError(
            f"{path}: the fetched file cannot be read ({error})", transient=False
        ) from None
