"""Versions of a user's lists."""

import importlib.metadata

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.hashing import file_hash

__all__ = ["hash_list", "list_version"]


def list_version(path: str) -> str | None:
    """Return a text that changes when a catalogue of known lenses does.

    Parameters
    ----------
    path
        As in ``sample.known_lenses``.

    Returns
    -------
    str or None
        SHA-256 of a local file; the version of ``lenscat``; None for an address, and for a package
        of unknown version.

    Raises
    ------
    LenspipeError
        There is no such file.
    """
    if path == "lenscat":
        try:
            return importlib.metadata.version(path)
        except importlib.metadata.PackageNotFoundError:
            return None
    return None if is_remote(path) else hash_list(path, "sample.known_lenses")


def hash_list(path: str, key: str) -> str:
    """Return the SHA-256 of a list of positions, given in config key `key`."""
    try:
        return file_hash(path)
    except OSError as error:
        raise LenspipeError(
            f"{path}: can't be read ({error.strerror}); expected a list with ra, dec in degrees; "
            f"correct config key {key}"
        ) from None
