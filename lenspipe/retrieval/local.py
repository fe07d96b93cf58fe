"""A survey in a local folder."""

import contextlib
from pathlib import Path

from lenspipe.utils.errors import LenspipeError

__all__ = ["LocalSource"]


class LocalSource:
    """Files of a local tree."""

    @contextlib.contextmanager
    def table(self, path, checksums=None):
        """Make a whole file readable, such as a catalogue.

        Parameters
        ----------
        path : str or path-like
            As from `lenspipe.config.paths.SurveyPaths`.
        checksums : str, optional
            List of SHA-256 sums that has it, for sources that check them.

        Yields
        ------
        pathlib.Path
            Local file, there until the block ends.

        Raises
        ------
        NotFoundError
            The server has no such file.
        RetrievalError
            The server didn't give it.
        LenspipeError
            There is no such local file.
        """
        if not Path(path).is_file():
            raise LenspipeError(f"{path}: no such file; download it or correct survey.tree")
        yield Path(path)

    @contextlib.contextmanager
    def coadds(self, paths, boxes, checksums=None):
        """Make sections of images readable.

        Parameters
        ----------
        paths : dict
            Anything -> path of a coadd, as from `lenspipe.config.paths.SurveyPaths`.
        boxes : callable
            Given the world coordinates and the shape (rows, columns) of a coadd, returns the
            sections: (N, 4) array of int, as of `lenspipe.utils.fits.clip_boxes`.
        checksums : str, optional
            List of SHA-256 sums that has them, for sources that check them.

        Yields
        ------
        mapping
            The same keys -> local file, whole or with at least these sections; None where there is
            no such coadd. A value is waited for when it is asked for, while others come: take them
            in order. Asking raises a `RetrievalError` where a server doesn't give the file.
        """
        yield {key: path if path.is_file() else None for key, path in paths.items()}

    def traffic(self):
        """Say what has been fetched, for a line of the log.

        Returns
        -------
        str
        """
        return ""

    def key(self, paths):
        """Return what changes when one of some files does.

        Parameters
        ----------
        paths : list of str or path-like

        Returns
        -------
        list
            Plain values. Of local files size and time; of remote ones the address only, since
            releases don't change and asking costs a request for each.
        """
        stats = [(path.name, path.stat()) for path in paths if path.is_file()]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
