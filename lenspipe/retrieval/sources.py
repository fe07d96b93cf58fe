"""Access to the survey's files in a folder, on a web server or in an object store."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.remote import RemoteSource
from lenspipe.utils.files import is_remote

__all__ = ["open_source"]


@contextlib.contextmanager
def open_source(
    retrieval: Retrieval, hosts: Path, *trees: str | Path | None
) -> Iterator[LocalSource]:
    """Open the source that the survey's files are read from.

    Parameters
    ----------
    hosts
        JSON file of the run that records how each server answers.
    trees
        Folders or addresses that the files lie below; None is skipped.

    Yields
    ------
    LocalSource
        A `lenspipe.retrieval.remote.RemoteSource` if one of them is remote. Its methods may be
        called by several threads.
    """
    if any(is_remote(tree or "") for tree in trees):
        with contextlib.closing(RemoteSource(retrieval, hosts)) as source:
            yield source
    else:
        yield LocalSource()
