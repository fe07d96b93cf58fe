"""Elements of the data dictionary: columns, keys, extensions, products, sections of its text."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

__all__ = [
    "Column",
    "Hdu",
    "Key",
    "Product",
    "Section",
    "dtypes_of",
    "expand",
    "names_of",
    "names_of_keys",
]

_STRICT = ConfigDict(extra="forbid", strict=True)
#: Placeholder in the name of a column: ``mag_<band>``.
_PLACEHOLDER = re.compile(r"<(\w+)>")


@dataclass(frozen=True, config=_STRICT)
class Column:
    """Column of a table.

    Attributes
    ----------
    name
        May hold a placeholder, for which a run has any number of values: ``<band>``,
        ``<magband>`` (the bands, and z), ``<member>`` (networks of an ensemble), ``<model>``,
        ``<key>`` (settings that a sweep varies).
    dtype
        As pandas reads it: ``str``, ``int32``, ``float32``, ``bool``, ...; of TFRecords the type of
        the feature.
    unit
        As astropy reads it; empty for none.
    description
        Plain ASCII text where the column is written to a FITS file or VOTable, which carry it.
    ucd
        https://www.ivoa.net/documents/UCD1+/
    optional
        Whether some runs lack it.
    """

    name: str
    dtype: str
    unit: str = ""
    description: str = ""
    ucd: str = ""
    optional: bool = False


@dataclass(frozen=True, config=_STRICT)
class Key:
    """Key of a JSON document, or keyword of a FITS header.

    Attributes
    ----------
    name
        Dotted: ``stages.<stage>.done``; ``groups[].cut`` is a key of each item of a list.
    interval
        Whether the ends of its 95 % interval stand beside it as ``<name>_low``, ``<name>_high``.
    optional
        Whether some documents lack it.
    """

    name: str
    description: str
    unit: str = ""
    interval: bool = False
    optional: bool = False


@dataclass(frozen=True, config=_STRICT)
class Hdu:
    """Extension of a FITS file: a table with columns, or an image; with keywords of its header."""

    name: str
    description: str
    columns: tuple[Column, ...] = ()
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Product:
    """File, or set of files, that a run leaves.

    Attributes
    ----------
    path
        Below the run's folder; wildcards in braces: ``scores/{chunk}.parquet``. Empty for what a
        command prints.
    title
        Text of its line in the table of all files; products of the same title share a line.
    stage
        Rules that make it, or the command, such as ``lenspipe inspect``.
    noun
        What a message calls it if it is missing; the title if not given.
    section
        Anchor of the section of docs/outputs.md that describes it; empty where the title says all.
    description, notes
        Markdown above and below its table.
    optional
        Condition under which there is one; empty if every complete search leaves it.
    temporary
        Whether it is deleted when it has served its purpose, or belongs to a job that runs.
    columns_as
        Key of another product whose table in the document describes this one as well; its columns
        are those of the other if none are given.
    beside
        Key of the product to request of Snakemake, if the rule does not declare this one itself.
    """

    key: str
    path: str
    title: str
    stage: str
    noun: str = ""
    section: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    keys: tuple[Key, ...] = ()
    hdus: tuple[Hdu, ...] = ()
    notes: str = ""
    optional: str = ""
    temporary: bool = False
    columns_as: str = ""
    beside: str = ""

    def pattern(self) -> re.Pattern[str]:
        """Regular expression of its paths, with wildcards as the Snakefile constrains them."""
        seen: set[str] = set()
        text = ""
        for i, part in enumerate(re.split(r"\{(\w+)\}", self.path)):
            if i % 2 == 0:
                text += re.escape(part)
            elif part in seen:
                text += f"(?P={part})"
            else:
                text += f"(?P<{part}>{_WILDCARDS.get(part, '[^/]+')})"
                seen.add(part)
        return re.compile(text)


#: Wildcard -> regular expression of its values; otherwise a name.
_WILDCARDS = {
    "tree": ".+",
    "chunk": r"\d+-\d+",
    "brick": r"\d{4}[pm]\d{3}",
    "folder": r"\d{3}",
    "region": r"north|south",
    "split": r"train|validation|test",
    "shard": r"\d{5}",
    "version": r"\d+",
    "page": r"\d{4}",
    "number": r"\d+",
    "model": r"[A-Za-z]\w*",
    "stage": r"parent|cutouts|mosaics|discard",
    "kind": r"image|invvar|nexp|psfsize|maskbits",
    "suffix": r"-[a-z]|",
}


@dataclass(frozen=True, config=_STRICT)
class Section:
    """Section of docs/outputs.md: heading of level 2 or 3, and Markdown before its products.

    Attributes
    ----------
    former
        Further anchor, of an earlier heading.
    """

    title: str
    text: str = ""
    level: int = 2
    former: str = ""

    @property
    def anchor(self) -> str:
        """Anchor as GitHub makes it of the heading."""
        return re.sub(r"[^\w -]", "", self.title.lower()).replace(" ", "-")


def expand(columns: Iterable[Column], values: Mapping[str, Sequence[str]]) -> Iterator[Column]:
    """Yield a column for each value of the placeholder in its name, in order.

    Parameters
    ----------
    values
        Placeholder -> its values, such as ``{"band": ["g", "r", "z"]}``; a placeholder that is
        not given has none. In descriptions the placeholder is replaced as well.
    """
    for column in columns:
        found = _PLACEHOLDER.search(column.name)
        if found is None:
            yield column
            continue
        for value in values.get(found[1], ()):
            yield replace(
                column,
                name=column.name.replace(found[0], value),
                description=column.description.replace(found[0], value),
            )


def names_of(columns: Iterable[Column], **values: Sequence[str]) -> list[str]:
    """List the names of columns for given values of their placeholders."""
    return [column.name for column in expand(columns, values)]


def dtypes_of(columns: Iterable[Column], **values: Sequence[str]) -> dict[str, str]:
    """Map the names of columns to their types, for given values of their placeholders."""
    return {column.name: column.dtype for column in expand(columns, values)}


def names_of_keys(keys: Iterable[Key]) -> list[str]:
    """List the names of keys, with the ends of their intervals."""
    ends = {False: ("",), True: ("", "_low", "_high")}
    return [key.name + end for key in keys for end in ends[key.interval]]
