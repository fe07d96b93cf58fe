"""Ranges of bytes through fsspec, for example from the object stores s3:// and gs://."""

import threading
from urllib.parse import urlsplit

import fsspec

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.hosts import Host
from lenspipe.retrieval.http import Received, write_at
from lenspipe.retrieval.ranges import Ranges
from lenspipe.retrieval.retry import retrying
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError

__all__ = ["ObjectTransport"]


class ObjectTransport:
    """Reads through fsspec; the same methods as `lenspipe.retrieval.http.HttpTransport`.

    Object stores answer one range per request; fsspec sends several requests at once.

    Parameters
    ----------
    url
        Any address in the store.

    Raises
    ------
    LenspipeError
        fsspec does not know this kind of address, or lacks the package that it needs for it.
    """

    def __init__(self, retrieval: Retrieval, url: str) -> None:
        self.retrieval = retrieval
        self.bytes = self.requests = 0
        self._lock = threading.Lock()
        self._host = Host(ranges="single", proved=("single",))
        scheme = urlsplit(url).scheme
        if any(retrieval.credentials_for(url)):
            raise LenspipeError(
                f"{url}: found credentials in the address, expected none; give them as the store's "
                "own client takes them (environment variables or its configuration file)"
            )
        try:
            self._files = fsspec.filesystem(scheme)
        except (ImportError, ValueError) as error:
            raise LenspipeError(
                f"{url}: {error} (config keys survey.tree and survey.sweeps; for s3:// and gs:// "
                "pip install 'lenspipe[s3]' or 'lenspipe[gs]')"
            ) from None

    def close(self) -> None:
        """Do nothing: fsspec keeps its connections until the process ends."""

    def host(self, url: str) -> Host:
        """See `HttpTransport`; the same for all files."""
        return self._host

    def read(self, url: str, ranges: Ranges | None, file: int) -> Received:
        """See `HttpTransport`."""
        return retrying(self.retrieval)(self._read_once, url, ranges, file)

    def _read_once(self, url: str, ranges: Ranges | None, file: int) -> Received:
        try:
            info = self._files.info(url)
            size = info["size"]
            spans = [(a, min(b, size)) for a, b in ranges or [(0, size)] if a < size]
            starts, stops = zip(*spans, strict=True) if spans else ((), ())
            pieces = self._files.cat_ranges(
                [url] * len(spans), list(starts), list(stops), on_error="raise"
            )
        except FileNotFoundError:
            raise NotFoundError(f"{url}: no such file") from None
        except PermissionError as error:
            raise RetrievalError(f"{url}: {error}", transient=False) from None
        except OSError as error:
            raise RetrievalError(f"{url}: {error!r}", transient=True) from None
        with self._lock:
            self.requests += 1 + len(spans)
            self.bytes += sum(map(len, pieces))
        for (start, stop), piece in zip(spans, pieces, strict=True):
            if len(piece) != stop - start:
                raise RetrievalError(
                    f"{url}: found {len(piece)} bytes for the range {start}-{stop}", transient=True
                )
            write_at(file, piece, start)
        version = (size, *(str(info.get(key)) for key in ("ETag", "etag", "LastModified", "mtime")))
        return Received(size, version, spans)
