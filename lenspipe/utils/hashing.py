"""Hashes of plain values."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

__all__ = ["digest"]


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
