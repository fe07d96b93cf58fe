"""Files of a run that another step needs: one message if one is missing; JSON documents."""

import json
import os
from pathlib import Path
from typing import Any

from lenspipe.products import schema
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["read_json", "require", "unreadable", "write_json"]


def require(path: str | os.PathLike[str], key: str, alternative: str = "") -> Path:
    """Return the path of a product, which has to exist.

    Parameters
    ----------
    key
        Of the product in the data dictionary, `lenspipe.products.schema.PRODUCTS`.
    alternative
        What else can be done, such as ``give the configuration to take it from the coadds``.

    Raises
    ------
    LenspipeError
        There is no such file.
    """
    path = Path(path)
    if path.is_file():
        return path
    content, command = _described(path, key)
    raise LenspipeError(
        f"{path}: no such file, expected {content}; make it with {command}"
        f"{f', or {alternative}' if alternative else ''}"
    )


def read_json(path: str | os.PathLike[str], key: str) -> Any:
    """Read a JSON document of a run; `key` as in `require`.

    Raises
    ------
    LenspipeError
        There is no such file, or it is damaged.
    """
    path = require(path, key)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise unreadable(path, key, error) from None


def write_json(path: str | os.PathLike[str], content: Any, sort_keys: bool = False) -> None:
    """Write a JSON document; NaN is an error."""
    text = json.dumps(content, indent=1, allow_nan=False, sort_keys=sort_keys)
    with atomic(path) as temporary:
        temporary.write_text(f"{text}\n")


def unreadable(path: Path, key: str, error: Exception) -> LenspipeError:
    """Return the error for a damaged file of the product `key`."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    content, command = _described(path, key)
    return LenspipeError(
        f"{path}: can't be read ({reason}), expected {content}; delete it and make it again with "
        f"{command}"
    )


def _described(path: Path, key: str) -> tuple[str, str]:
    """Content of a file, and the command that makes it, in words."""
    product = schema.PRODUCTS[key]
    return product.noun or product.title, f"`{schema.command_for(product, path)}`"
