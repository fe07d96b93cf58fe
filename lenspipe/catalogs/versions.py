"""Versions of the lists that a user gives."""

import hashlib
import importlib.metadata
from pathlib import Path

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote

__all__ = ["hash_list", "list_version"]


def list_version(path):
    """Return what changes when a catalogue of known lenses does.

    Parameters
    ----------
    path : str
        As of ``sample.known_lenses``.

    Returns
    -------
    str or None
        SHA-256 of a local file; the version of ``lenscat``; None for an address, which stands for
        itself, and for a package of unknown version.

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


def hash_list(path, key):
    """Hash a list of positions."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise LenspipeError(
            f"{path}: can't be read ({error.strerror}); expected a list with ra, dec in degrees; "
            f"correct config key {key}"
        ) from None
