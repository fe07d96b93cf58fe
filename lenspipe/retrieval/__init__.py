"""Getting the survey's files: from a local tree, over HTTP, or from an object store.

`open_source` gives the one interface that the rest of lenspipe knows, whatever the address in
``survey.tree``.
"""

import contextlib
from pathlib import Path

from lenspipe.errors import LenspipeError

__all__ = ["LocalSource", "open_source"]


@contextlib.contextmanager
def open_source(settings):
    """Open what the survey's files are read from.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Yields
    ------
    LocalSource
        Or another class with the same methods. They may be called by several threads.
    """
    yield LocalSource()


class LocalSource:
    """Files of a local tree."""

    @contextlib.contextmanager
    def table(self, path):
        """Make a whole file readable, such as a catalogue.

        Parameters
        ----------
        path : str or path-like
            As from `lenspipe.paths.SurveyPaths`.

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
