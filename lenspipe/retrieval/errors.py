"""Errors of files that were retrieved."""

import contextlib

from lenspipe.utils.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.utils.files import is_remote

__all__ = ["fetched"]


@contextlib.contextmanager
def fetched(path):
    """Read a file that `lenspipe.retrieval.sources` made local; if it can't be read, blame its
    address.

    Parameters
    ----------
    path : str or path-like
        What was asked for.

    Raises
    ------
    RetrievalError
        The block could not read a file that is remote; a later run won't fare better.
    LenspipeError
        It could not read a local file.
    """
    try:
        yield
    except LenspipeError as error:
        if isinstance(error, DiskFullError | RetrievalError) or not is_remote(path):
            raise
        raise RetrievalError(
            f"{path}: not readable as fetched ({error})", transient=False
        ) from None
