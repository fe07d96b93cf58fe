"""Answers with several ranges: ``multipart/byteranges``."""

import email.message
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from lenspipe.utils.errors import RetrievalError

__all__ = ["Pieces", "content_ranges"]

_MAX_LINE_BYTES = 1 << 16


class Pieces(io.RawIOBase):
    """A file object that reads from an iterator of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        self._left = self._left or next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def content_ranges(url: str, body: BinaryIO, content_type: str) -> Iterator[str]:
    """Yield the Content-Range of each part of a multipart answer (RFC 9110, section 14.6).

    The content of a part has to be read before the next part is requested. It is not searched for
    the boundary, since its length is known.

    Parameters
    ----------
    url
        For error messages.
    content_type
        The answer's Content-Type.

    Yields
    ------
    str
        Empty for a part without Content-Range.

    Raises
    ------
    RetrievalError
        The answer is garbled or ends too early.
    """
    message = email.message.Message()
    message["Content-Type"] = content_type
    boundary = b"--" + (message.get_boundary() or "").encode()
    line = body.readline(_MAX_LINE_BYTES)
    while line == b"\r\n":
        line = body.readline(_MAX_LINE_BYTES)
    while line.rstrip() == boundary:
        content_range = ""
        while header := body.readline(_MAX_LINE_BYTES).strip():
            name, _, value = header.partition(b":")
            if name.strip().lower() == b"content-range":
                content_range = value.strip().decode("ascii", "replace")
        yield content_range
        # If the length of the content were not as stated, something else would follow.
        if body.readline(_MAX_LINE_BYTES) != b"\r\n":
            break
        line = body.readline(_MAX_LINE_BYTES)
    if line.rstrip() == boundary + b"--":
        return
    raise RetrievalError(f"{url}: garbled or truncated multipart answer", transient=True)
