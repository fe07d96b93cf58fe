"""Files of lists, local, at an address or in a package."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.remote import RemoteSource
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.user_tables import UserTable, read_user_table

__all__ = ["read_raw"]


def read_raw(
    path: str,
    key: str,
    retrieval: Retrieval | None = None,
    hosts: Path | None = None,
    wanted: Callable[[str], bool] | None = None,
) -> UserTable:
    """Read the unprocessed content of a list.

    Parameters
    ----------
    path
        As in `lenspipe.utils.user_tables.read_user_table`; the address of such a file; or
        ``lenscat``, the table of that package.
    key
        Configuration key that holds the path, for messages.
    retrieval, hosts
        Needed for an address, as in `lenspipe.retrieval.remote.RemoteSource`; the file is cached.
    wanted
        Which columns to read from a FITS or Parquet table, by name; all if not given.

    Raises
    ------
    LenspipeError
        There is no such file, or it can't be read.
    RetrievalError
        A server did not deliver the file.
    """
    expected = f"columns ra, dec in degrees; correct config key {key}"
    with _local(path, retrieval, hosts) as local:
        return read_user_table(local, expected, wanted=wanted, name=path)


@contextlib.contextmanager
def _local(path: str, retrieval: Retrieval | None, hosts: Path | None) -> Iterator[Path]:
    """Yield a local file for a path, an address or ``lenscat``."""
    if path == "lenscat":
        yield _lenscat()
    elif is_remote(path) and retrieval and hosts:
        remote = contextlib.closing(RemoteSource(retrieval, hosts))
        with remote as source, source.table(path) as local:
            yield local
    else:
        yield Path(path)


def _lenscat() -> Path:
    """Find the table in lenscat's folder; importing it would require its plotting libraries."""
    package = importlib.util.find_spec("lenscat")
    folders = (package and package.submodule_search_locations) or []
    for path in (Path(folder) / "data" / "catalog.csv" for folder in folders):
        if path.is_file():
            return path
    raise LenspipeError(
        f"lenscat: {'found no data/catalog.csv in it' if package else 'not installed'}; "
        "pip install --no-deps lenscat, or give the address of its CSV"
    )
