"""``docs/outputs.md``, written from the data dictionary.

``python -m lenspipe.products.outputs > docs/outputs.md`` writes it anew.
"""

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from lenspipe.config.flags import MEANINGS
from lenspipe.products.schema import PRODUCTS, Column, Key, Product, Section, read_dictionary

__all__ = ["outputs_document"]

_WIDTH = 110
#: Columns in a row, described in an earlier table, that become one row which refers to it.
_FEWEST_REPEATED = 3
#: Files of one row that are named each; of more only the folder.
_MOST_NAMED = 6
#: Products whose sections describe columns that others repeat.
_HOMES = ("scores", "parent", "sample", "injected_lenses")
#: Wildcard -> how the document writes it.
_WILDCARDS = {"folder": "AAA", "model": "name", "page": "0001", "suffix": "", "version": "n"}
#: Products that the table of paths leaves out: their neighbours' rows say enough.
_UNLISTED = re.compile(r"\.lock$|sqlite-|damaged-|^sky/")


def outputs_document() -> str:
    """Write the document."""
    dictionary = read_dictionary()
    sections = {section.anchor: section for section in dictionary.sections}
    places: dict[Column, Section] = {}
    for key in _HOMES:
        for column in PRODUCTS[key].columns:
            places.setdefault(column, sections[PRODUCTS[key].section])
    parts = ["# Outputs", _wrap(dictionary.introduction), _table_of_paths(), dictionary.chunks]
    for anchor, section in sections.items():
        former = [f'<a id="{section.former}"></a>'] if section.former else []
        parts += [*former, f"{'#' * section.level} {section.title}"]
        parts += [_wrap(section.text)] if section.text else []
        if anchor == "flags":
            parts.append(_flags())
        for product in PRODUCTS.values():
            if product.section == anchor:
                parts += _of_product(product, section, places)
    return "\n\n".join(parts) + "\n"


def _table_of_paths() -> str:
    rows: dict[str, list[Product]] = {}
    listed = [p for p in PRODUCTS.values() if p.path and not _UNLISTED.search(p.path)]
    for product in sorted(listed, key=_subject):
        rows.setdefault(product.title, []).append(product)
    lines = ["| path | content | made by |", "|---|---|---|"]
    for title, products in rows.items():
        # A product that has a section leads the row and is the link.
        products.sort(key=lambda p: not p.section)
        first = products[0]
        paths = [_shown(product.path) for product in products]
        if len(paths) > _MOST_NAMED:
            paths = [f"{PurePosixPath(paths[0]).parent}/"]
        names = _short(paths)
        if first.section:
            names[0] = f"[{names[0]}](#{first.section})"
        conditions = list(dict.fromkeys(product.optional for product in products))
        condition = ""
        if len(conditions) == 1 and conditions[0] and not first.stage.startswith("lenspipe"):
            condition = f"; if {conditions[0]}"
        makers = dict.fromkeys(
            maker for product in products for maker in product.stage.split(", ")
        )  # fmt: skip
        lines.append(f"| {', '.join(names)} | {title}{condition} | {', '.join(makers)} |")
    lines.append(
        "| [`sky/`](#simulated-sky) | the simulated sky; if the sky is simulated | simulate |"
    )
    return "\n".join(lines)


_SUBJECTS = (
    "index", "summary", "status", "candidates", "mosaics", "pages", "sheets", "inspection",
    "evaluation", "checks",
    "recovery", "purity", "selection", "expected", "scores", "models", "sweep", "known", "sample",
    "mined", "rounds", "records", "cutouts", "parent", "manifests", "bricks", "missing", "hosts",
    "basis", "exchange", "config", "plan", "logs", "benchmarks",
)  # fmt: skip


def _subject(product: Product) -> int:
    """Place of a product's folder, or file, in the table: results first."""
    return _SUBJECTS.index(re.split(r"[/.]", product.path)[0])


def _shown(path: str) -> str:
    for files in ("/{name}", "/{tree}"):
        path = path.removesuffix(files) + ("/" if path.endswith(files) else "")
    return re.sub(r"\{(\w+)\}", _wildcard, path)


def _wildcard(match: re.Match[str]) -> str:
    word = _WILDCARDS.get(match[1], match[1])
    return word if word in ("", "0001") else f"<{word}>"


def _short(paths: Sequence[str]) -> list[str]:
    """Leave out of each path what it shares with the one before: folder, and perhaps stem."""
    names = [f"`{paths[0]}`"]
    for before, path in itertools.pairwise(map(PurePosixPath, paths)):
        if path.parent != before.parent or str(path.parent) == ".":
            names.append(f"`{path}`")
        elif path.stem == before.stem:
            names.append(f"`{path.suffix}`")
        else:
            names.append(f"`{path.name}`")
    return names


def _flags() -> str:
    rows = [f"| {flag.value} | {flag.name} | {text} |" for flag, text in MEANINGS.items()]
    return "\n".join(["| bit | name | meaning |", "|---|---|---|", *rows])


def _of_product(product: Product, section: Section, places: dict[Column, Section]) -> Iterator[str]:
    if product.description:
        yield _wrap(product.description)
    if product.columns and not product.columns_as:
        yield _columns(product.columns, section, places)
    if product.keys:
        yield _keys(product.keys)
    for hdu in product.hdus if not product.columns_as else ():
        yield _wrap(f"HDU `{hdu.name}`: {hdu.description}.")
        if hdu.keys:
            yield _keys(hdu.keys, "keyword")
        if hdu.columns:
            yield _columns(hdu.columns, section, places)
    if product.notes:
        yield _wrap(product.notes)


def _columns(columns: Sequence[Column], section: Section, places: dict[Column, Section]) -> str:
    """Table of columns; those described in an earlier section become a row that refers to it."""
    rows: list[tuple[str, str, str, str]] = []
    for place, group in itertools.groupby(columns, key=lambda c: _earlier(c, section, places)):
        run = list(group)
        if place is not None and len(run) >= _FEWEST_REPEATED:
            names = f"{_name(run[0])} ... {_name(run[-1])}"
            rows.append((names, "", "", f"as in [{_plain(place)}](#{place.anchor})"))
            continue
        for _, equal in itertools.groupby(run, key=lambda c: (c.dtype, c.unit, c.description)):
            alike = list(equal)
            first = alike[0]
            text = first.description + ("; not in all runs" if first.optional else "")
            rows.append((", ".join(map(_name, alike)), first.dtype, first.unit, text))
    for column in columns:
        places.setdefault(column, section)
    titles = ["column", "type", "unit", "content"]
    kept = [i for i in range(4) if i != 2 or any(row[2] for row in rows)]
    lines = ["|".join(("", *(f" {titles[i]} " for i in kept), "")), "|" + "---|" * len(kept)]
    for row in rows:
        lines.append("|".join(("", *(f" {_cell(row[i])} ".replace("  ", " ") for i in kept), "")))
    return "\n".join(lines)


def _earlier(column: Column, section: Section, places: dict[Column, Section]) -> Section | None:
    place = places.get(column)
    return None if place is section else place


def _name(column: Column) -> str:
    return f"`{column.name.replace('<magband>', '<band>')}`"


def _plain(section: Section) -> str:
    return section.title.strip("`").lower()


def _keys(keys: Sequence[Key], title: str = "key") -> str:
    has_units = any(key.unit for key in keys)
    lines = [f"| {title} |{' unit |' if has_units else ''} content |"]
    lines.append("|---|---|" + "---|" * has_units)
    for text, alike in itertools.groupby(keys, key=lambda k: (k.description, k.unit)):
        names = ", ".join(
            f"`{key.name}`" + (", `_low`, `_high`" if key.interval else "") for key in alike
        )
        unit = f" {text[1]} |" if has_units else ""
        lines.append(f"| {names} |{unit} {_cell(text[0])} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text as a cell: a stroke would end it, and a placeholder would be taken for HTML."""
    return re.sub(r"(?<![`\w-])(<\w+>)(?!`)", r"`\1`", text).replace("|", r"\|")


def _wrap(text: str) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        textwrap.fill(
            " ".join(paragraph.split()), _WIDTH, break_long_words=False, break_on_hyphens=False
        )
        for paragraph in paragraphs
    )


if __name__ == "__main__":
    print(outputs_document(), end="")
