"""A survey in a local folder."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from astropy.wcs import WCS

from lenspipe.utils.errors import LenspipeError

__all__ = ["Boxes", "LocalSource"]

#: From the world coordinates and the shape (rows, columns) of a coadd to sections of it: (N, 4)
#: array of int, as returned by `lenspipe.utils.fits.clip_boxes`.
Boxes = Callable[[WCS, tuple[int, int]], np.ndarray]

Key = TypeVar("Key")


class LocalSource:
    """Files of a local tree."""

    @contextlib.contextmanager
    def table(
        self, path: str | os.PathLike[str], checksums: str | os.PathLike[str] | None = None
    ) -> Iterator[Path]:
        """Make a whole file, such as a catalogue, available locally until the block ends.

        Parameters
        ----------
        path
            As returned by `lenspipe.config.surveys.base.SurveyPaths`.
        checksums
            List of SHA-256 sums that includes the file, for sources that check them.

        Raises
        ------
        NotFoundError
            The server has no such file.
        RetrievalError
            The server did not deliver it.
        LenspipeError
            There is no such local file.
        """
        if not Path(path).is_file():
            raise LenspipeError(f"{path}: no such file; download it or correct survey.tree")
        yield Path(path)

    @contextlib.contextmanager
    def coadds(
        self,
        paths: Mapping[Key, str | Path],
        boxes: Boxes,
        checksums: str | os.PathLike[str] | None = None,
    ) -> Iterator[Mapping[Key, Path | None]]:
        """Make sections of images available locally until the block ends.

        Parameters
        ----------
        paths
            Any key -> path of a coadd, as returned by `lenspipe.config.surveys.base.SurveyPaths`.
        boxes
            Which sections of a coadd are needed.
        checksums
            List of SHA-256 sums that includes the files, for sources that check them.

        Yields
        ------
        mapping
            The same keys -> local file, complete or with at least these sections; None where there
            is no such coadd. Looking up a key waits for its file while the others are fetched, so
            use them in order; it raises a `RetrievalError` if a server does not deliver the file.
        """
        yield {key: Path(path) if Path(path).is_file() else None for key, path in paths.items()}

    def traffic(self) -> str:
        """Describe what has been fetched, for a line of the log."""
        return ""

    def unchecked(self, paths: Iterable[str | Path]) -> str:
        """Say why files were not checked against published sums, though that is configured.

        Empty if they were, and for local files, which are not checked.
        """
        return ""

    def key(self, paths: Iterable[str | Path]) -> list[object]:
        """Return plain values that change when one of the files does.

        They are size and time of local files, but only the address of remote ones, since releases
        do not change and asking costs a request for each.
        """
        files = [Path(path) for path in paths]
        stats = [(file.name, file.stat()) for file in files if file.is_file()]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
