"""Hashes of plain values and of files."""

import hashlib
import json
import os
from typing import Any

from pydantic import BaseModel

__all__ = ["digest", "file_hash"]


def digest(*values: Any) -> str:
    """Hash pydantic models, dicts, lists, numbers and strings.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256 of the values' canonical JSON.
    """

    def plain(value: Any) -> Any:
        return value.model_dump() if isinstance(value, BaseModel) else str(value)

    text = json.dumps(values, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
