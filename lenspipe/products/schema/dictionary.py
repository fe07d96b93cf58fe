"""The data dictionary: YAML files beside this module, read once per process when first needed.

``columns`` and ``keys`` name groups; ``products`` has the files that share a line of the table of
docs/outputs.md, with what they have in common. Columns are a mapping, name -> attributes, or a list
of such mappings and of names of groups; in a mapping ``group: [name, ...]`` takes some columns of a
group. Keys are likewise a mapping or a list, nested like the document: a text is the description of
a key, ``{description: ..., ...}`` are its attributes, ``{keys: ..., optional: true}`` is an object
that may be missing, and any other mapping or list is an object.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lenspipe.products.schema.declarations import Column, Hdu, Key, Product, Section

__all__ = ["Dictionary", "band_values", "command_for", "product_of", "read_dictionary"]

_FOLDER = Path(__file__).parent
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Columns or keys, or names of groups of them.
_Items = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


@dataclass(frozen=True)
class Dictionary:
    """The schema of all files of a run.

    Attributes
    ----------
    groups
        Columns, or keys, that code or several products use, by name.
    products
        By key.
    introduction, chunks, sections
        Texts of docs/outputs.md.
    """

    groups: dict[str, tuple[Column, ...] | tuple[Key, ...]]
    products: dict[str, Product]
    introduction: str
    chunks: str
    sections: tuple[Section, ...]


@functools.cache
def read_dictionary() -> Dictionary:
    """Read the dictionary."""
    contents = [yaml.load(path.read_bytes(), _Loader) for path in sorted(_FOLDER.glob("*.yaml"))]
    columns, keys = (
        {name: items for content in contents for name, items in content.get(kind, {}).items()}
        for kind in ("columns", "keys")
    )
    groups, products = columns | keys, {}
    for entry in (entry for content in contents for entry in content.get("products", ())):
        for key, file in entry.pop("files").items():
            own = {"path": file} if isinstance(file, str) else file
            products[key] = _product({"key": key, "path": "", **entry, **own}, groups)
    for key, product in products.items():
        if product.columns_as and not product.columns:
            products[key] = replace(product, columns=products[product.columns_as].columns)
    (document,) = (content for content in contents if "sections" in content)
    return Dictionary(
        {name: tuple(_columns(name, groups)) for name in columns}
        | {name: tuple(_keys(name, groups)) for name in keys},
        products,
        document["introduction"],
        document["chunks"],
        tuple(Section(**section) for section in document["sections"]),
    )


def _product(attributes: Mapping[str, Any], groups: Mapping[str, _Items]) -> Product:
    hdus = attributes.get("hdus", {}).items()
    made = tuple(Hdu(name, **_with_tables(hdu, groups)) for name, hdu in hdus)
    return Product(**_with_tables({**attributes, "hdus": made}, groups))


def _with_tables(attributes: Mapping[str, Any], groups: Mapping[str, _Items]) -> dict[str, Any]:
    columns, keys = attributes.get("columns", ()), attributes.get("keys", ())
    return {
        **attributes,
        "columns": tuple(_columns(columns, groups)),
        "keys": tuple(_keys(keys, groups)),
    }


def _columns(items: _Items, groups: Mapping[str, _Items]) -> Iterator[Column]:
    for item in [items] if isinstance(items, str | Mapping) else items:
        if isinstance(item, str):
            yield from _columns(groups[item], groups)
            continue
        for name, value in item.items():
            if isinstance(value, list):
                by_name = {column.name: column for column in _columns(name, groups)}
                yield from (by_name[chosen] for chosen in value)
            else:
                yield Column(name, **value)


def _keys(items: _Items, groups: Mapping[str, _Items], prefix: str = "") -> Iterator[Key]:
    for item in [items] if isinstance(items, str | Mapping) else items:
        if isinstance(item, str):
            yield from _keys(groups[item], groups, prefix)
            continue
        for name, value in item.items():
            if isinstance(value, str):
                yield Key(prefix + name, value)
            elif "description" in value:
                yield Key(prefix + name, **value)
            elif "keys" in value:
                below = _keys(value["keys"], groups, f"{prefix}{name}.")
                yield from (replace(key, optional=value["optional"]) for key in below)
            else:
                yield from _keys(value, groups, f"{prefix}{name}.")


def product_of(path: str) -> Product | None:
    """Find the product that a path below the run's folder belongs to."""
    return next((product for pattern, product in _patterns() if pattern.fullmatch(path)), None)


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], Product]]:
    """Patterns of all products, the most specific first: some paths fit several.

    The folder of a trial of the sweep is that of a model as well.
    """
    products = [product for product in read_dictionary().products.values() if product.path]
    products.sort(key=lambda p: ("_trial_" not in p.path, p.path.count("{"), -len(p.path)))
    return [(product.pattern(), product) for product in products]


def command_for(product: Product, path: Path) -> str:
    """Return the command that makes a file of a run.

    Parameters
    ----------
    path
        Of the file, with the run's folder: ``results/demo/sample/injected.parquet``.
    """
    run = Path(*path.parts[: -product.path.count("/") - 1])
    if product.stage.startswith("lenspipe"):
        program, subcommand, *options = product.stage.split()
        return " ".join((program, subcommand, str(run), *options))
    if product.beside:
        match = product.pattern().fullmatch(path.relative_to(run).as_posix())
        wildcards = match.groupdict() if match else {}
        path = run / read_dictionary().products[product.beside].path.format(**wildcards)
    return f"snakemake {path} --cores 4 --configfile CONFIG"


def band_values(bands: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the values of the placeholders ``<band>`` and ``<magband>``, which has z always."""
    bands = list(bands)
    return {"band": bands, "magband": list(dict.fromkeys((*bands, "z")))}
