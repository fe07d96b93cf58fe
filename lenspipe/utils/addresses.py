"""Addresses, and their credentials, which no file, log line or error message may hold."""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["Credentials", "file_name", "split_credentials", "without_credentials"]

#: Names of parameters whose values are secret.
_SECRET = r"[\w.-]*(?:token|key|secret|passw|pwd|sig|auth|cred|session)[\w.-]*"

#: User and password before the host; also a password with characters that should be encoded.
_USER = re.compile(r"(\w://)(?:[^/?#\s]*@|[^/@\s]*:[^\d/@\s][^@\s]*@)")

_PARAMETER = re.compile(rf"([?&;]{_SECRET}=)[^&;#\s'\"]*", re.IGNORECASE)


class Credentials(NamedTuple):
    """What an address holds that allows its files to be read.

    Attributes
    ----------
    user, password
        Empty if there are none.
    query
        Parameters, as in an address; empty if there are none.
    """

    user: str = ""
    password: str = ""
    query: str = ""


def without_credentials(text: str) -> str:
    """Remove users, passwords and values of secret parameters from all addresses in a text.

    Examples
    --------
    >>> without_credentials("https://me:secret@example.org/dr9?token=secret&a=1: not found")
    'https://example.org/dr9?token=***&a=1: not found'
    """
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1", text))


def split_credentials(address: str, whole_query: bool = False) -> tuple[str, Credentials]:
    """Split an address into one that may be shown, and its credentials.

    Parameters
    ----------
    whole_query
        Whether all parameters are credentials: a folder takes no other ones.

    Raises
    ------
    ValueError
        The user or password has characters that must be encoded.

    Examples
    --------
    >>> address, credentials = split_credentials("https://me:secret@example.org/a?token=b&c=1")
    >>> address
    'https://example.org/a?c=1'
    >>> credentials.password, credentials.query
    ('secret', 'token=b')
    """
    parts = urlsplit(address)
    user_info, _, host = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    if not user_info and _USER.search(address):
        raise ValueError("write / ? # in a user or password of an address as %2F %3F %23")
    pairs = [pair for pair in parts.query.split("&") if pair]
    secret = [
        pair
        for pair in pairs
        if whole_query or re.fullmatch(_SECRET, pair.partition("=")[0], re.IGNORECASE)
    ]
    query = "&".join(pair for pair in pairs if pair not in secret)
    shown = urlunsplit(parts._replace(netloc=host, query=query)) if user_info or secret else address
    return shown, Credentials(unquote(user), unquote(password), "&".join(secret))


def file_name(address: str) -> str:
    """Return the name of the file at a path or an address."""
    path = urlsplit(address).path if "://" in address else address
    return path.rpartition("/")[2]
