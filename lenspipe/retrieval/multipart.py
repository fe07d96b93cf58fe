"""Answers of several ranges: ``multipart/byteranges``."""

import email.message
import io

from lenspipe.utils.errors import RetrievalError

__all__ = ["Pieces", "labels"]

_LONGEST_LINE = 1 << 16


class Pieces(io.RawIOBase):
    """A file of what comes in pieces.

    Parameters
    ----------
    pieces : iterator of bytes
    """

    def __init__(self, pieces):
        self._pieces, self._left = pieces, b""

    def readable(self):
        """As of `io.RawIOBase`."""
        return True

    def readinto(self, buffer):
        """As of `io.RawIOBase`."""
        self._left = self._left or next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def labels(url, body, kind):
    """Yield the Content-Range of each part of a multipart answer (RFC 9110, section 14.6).

    The content that follows has to be read before the next is asked for. Nothing in it is searched
    for the boundary, since its length is known.

    Parameters
    ----------
    url : str
        Where it is from.
    body : io.BufferedReader
    kind : str
        The answer's Content-Type.

    Yields
    ------
    str
        Empty where a part has none.

    Raises
    ------
    RetrievalError
        It is garbled or ends too early.
    """
    message = email.message.Message()
    message["Content-Type"] = kind
    boundary = b"--" + (message.get_boundary() or "").encode()
    line = body.readline(_LONGEST_LINE)
    while line == b"\r\n":
        line = body.readline(_LONGEST_LINE)
    while line.rstrip() == boundary:
        label = ""
        while header := body.readline(_LONGEST_LINE).strip():
            name, _, value = header.partition(b":")
            if name.strip().lower() == b"content-range":
                label = value.strip().decode("ascii", "replace")
        yield label
        # Had the content another length than it says, something else would follow.
        if body.readline(_LONGEST_LINE) != b"\r\n":
            break
        line = body.readline(_LONGEST_LINE)
    if line.rstrip() == boundary + b"--":
        return
    raise RetrievalError(f"{url}: garbled or truncated multipart answer", transient=True)
