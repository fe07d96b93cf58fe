"""The schema of every file of a run, from the data dictionary in the YAML files of this folder.

``PRODUCTS`` has all products. A group of columns or keys has its name in capitals: ``TRACTOR``.
"""

from typing import Any

from lenspipe.products.schema.declarations import (
    Column,
    Hdu,
    Key,
    Product,
    Section,
    dtypes_of,
    expand,
    names_of,
    names_of_keys,
)
from lenspipe.products.schema.dictionary import (
    band_values,
    command_for,
    product_of,
    read_dictionary,
)

__all__ = [
    "PRODUCTS",
    "Column",
    "Hdu",
    "Key",
    "Product",
    "Section",
    "band_values",
    "command_for",
    "dtypes_of",
    "expand",
    "names_of",
    "names_of_keys",
    "product_of",
    "read_dictionary",
]

PRODUCTS: dict[str, Product]


def __getattr__(name: str) -> Any:
    dictionary = read_dictionary()
    if name == "PRODUCTS":
        return dictionary.products
    if name.isupper() and name.lower() in dictionary.groups:
        return dictionary.groups[name.lower()]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
