"""Reading of what an earlier step should have made."""

from pathlib import Path

from lenspipe.utils.errors import LenspipeError

from lenspipe.products.schema.registry import PRODUCTS, command_for

__all__ = ["require"]


def require(path: Path, key: str, alternative: str = "") -> Path:
    """Return the path of a product that has to be there.

    Parameters
    ----------
    key
        Of the product, in `lenspipe.products.schema.PRODUCTS`.
    alternative
        What else can be done, such as ``give --config to take it from the coadds``.

    Raises
    ------
    LenspipeError
        There is no such file.
    """
    if path.is_file():
        return path
    product = PRODUCTS[key]
    raise LenspipeError(
        f"{path}: no such file, expected {product.noun or product.title}; make it with "
        f"`{command_for(product, path)}`{f', or {alternative}' if alternative else ''}"
    )
