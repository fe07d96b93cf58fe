"""Compare the files of runs with the schema.

``python -m lenspipe.products.verify results/demo ...`` reports files that fit no product, and
columns or keys that differ from the schema. The exit status is 1 if there is any difference.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

from lenspipe import utils
from lenspipe.products.record_files import first_record
from lenspipe.products.schema import (
    Column,
    Key,
    Product,
    band_values,
    expand,
    names_of_keys,
    product_of,
)

__all__ = ["compare_columns", "compare_file", "compare_keys", "compare_run", "placeholder_values"]

#: Files without a table or keys that could be compared.
_OPAQUE = {".png", ".html", ".keras", ".log", ".tsv", ".reg", ".gz", ".fz", ".pdf", ".tex", ".yaml"}
_ARROW = {"double": "float64", "float": "float32", "string": "str", "large_string": "str"}
_TEXTS = ("object", "str", "string", "category")
#: Placeholder in the name of a key -> regular expression of its values; otherwise a word.
_KEY_VALUES = {
    **dict.fromkeys(("file", "reason", "choice", "key", "column", "host", "group"), ".+"),
    "rate": r"1e-\d",
    "split": "train|validation|test",
    "brightness": "arc_snr|arc_mag",
}
_WORD = r"[^.\[\]]+"

_Values = Mapping[str, Sequence[str]]


def compare_run(run: Path) -> tuple[list[str], Counter[str]]:
    """Compare all files below the folder of a run with the schema.

    Returns
    -------
    problems
        A line for each difference.
    numbers
        Key of a product -> number of its files.
    """
    values, problems, numbers = placeholder_values(run), [], Counter[str]()
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = path.relative_to(run).as_posix()
        if re.search(r"(^|/)\.", name):
            continue
        product = product_of(name)
        if product is None:
            problems.append(f"{run}/{name}: fits no product")
            continue
        numbers[product.key] += 1
        found = compare_file(path, product, values)
        problems += [f"{run}/{name} ({product.key}): {problem}" for problem in found]
    return problems, numbers


def placeholder_values(run: Path) -> dict[str, Sequence[str]]:
    """Values of the placeholders in names of columns, as the configurations of the models say."""
    configs = [yaml.safe_load(path.read_text()) for path in run.glob("models/*/config.yaml")]
    bands = configs[0]["survey"]["bands"] if configs else ("g", "r", "z")
    members = [name for c in configs for name in (c["ensemble"]["members"] or {})]
    models = [path.stem for path in run.glob("models/*") if path.is_dir()]
    models = [name for name in models if "_trial_" not in name and name not in members]
    return {
        **band_values(bands),
        "member": list(dict.fromkeys(members)),
        "model": models,
    }


def compare_file(path: Path, product: Product, values: _Values) -> list[str]:
    """Describe how a file differs from its product; `values` as in `placeholder_values`."""
    if path.suffix in _OPAQUE or (product.temporary and product.key != "records"):
        return []
    if not (product.columns or product.keys or product.hdus):
        return []  # a table of the user's
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            return [f"can't be read ({error})"]
        return compare_keys(content, product.keys) if product.keys else []
    if path.suffix == ".tfrecord":
        return _compare_record(path, product.columns)
    if path.suffix == ".fits":
        return _compare_fits(path, product, values)
    if path.suffix == ".parquet":
        schema = pq.read_schema(path)
        types = [_ARROW.get(str(kind), str(kind)) for kind in schema.types]
        found = dict(zip(schema.names, map(_type_name, types), strict=True))
        return compare_columns(found, product.columns, values)
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        found = {name: _type_of_texts(table[name]) for name in table}
        return compare_columns(found, product.columns, values, loose=True)
    if path.suffix == ".vot":
        rows = parse_single_table(path).to_table()
        found = {name: _type_name(rows[name].dtype) for name in rows.colnames}
        return compare_columns(found, product.columns, values, loose=True)
    return []


def _type_name(dtype: object) -> str:
    """Name of a type as the schema has it; texts of any length are ``str``."""
    if str(dtype) in _TEXTS:
        return "str"
    kind = np.dtype(str(dtype))
    return "str" if kind.kind in "SU" else kind.newbyteorder("=").name


def _type_of_texts(values: pd.Series) -> str:
    """Type of a column of a CSV file; integers with gaps, which pandas reads as floats, are int."""
    there = values.dropna()
    if there.empty:
        return "empty"
    name = _type_name(values.dtype)
    if name == "float64" and values.isna().any() and (there % 1 == 0).all():
        return "int64"
    return name


def compare_columns(
    found: Mapping[str, str], columns: Sequence[Column], values: _Values, loose: bool = False
) -> list[str]:
    """Describe how columns differ from those of the schema in name, order or type.

    Parameters
    ----------
    found
        Name -> type.
    values
        As in `placeholder_values`; a placeholder that is not among them may have any value.
    loose
        Whether types may differ in size, as in formats that write numbers as texts.
    """
    # A folder may hold models other than the one that the table was scored with.
    models = [name for name in values["model"] if f"p_{name}" in found] or ["<model>"]
    known = expand(columns, {**values, "model": models})
    wanted = {c.name: c for c in known if c.name in found or not c.optional}
    free = [c.name for c in columns if (m := re.search(r"<(\w+)>", c.name)) and m[1] not in values]
    patterns = [re.sub(r"<\w+>", ".+", re.escape(name)) for name in free]
    foreign = [
        name
        for name in found
        if name not in wanted and not any(re.fullmatch(pattern, name) for pattern in patterns)
    ]
    problems = []
    if foreign:
        problems.append(f"columns not in the schema: {foreign}")
    if lacking := [name for name in wanted if name not in found]:
        problems.append(f"columns of the schema that are missing: {lacking}")
    order, expected = [n for n in found if n in wanted], [n for n in wanted if n in found]
    if order != expected:
        problems.append(f"order: found {order}, expected {expected}")
    for name in expected:
        if not _is_type(found[name], wanted[name].dtype, loose):
            problems.append(f"column {name}: found {found[name]}, expected {wanted[name].dtype}")
    return problems


def _is_type(found: str, expected: str, loose: bool) -> bool:
    if found == expected or "object" in (found, expected):
        return True
    if not loose:
        return False
    # A column of texts may hold numbers only.
    if found == "empty" or expected == "str":
        return True
    if not (found.startswith(("int", "float")) and expected.startswith(("int", "float"))):
        return False
    return not (found.startswith("float") and expected.startswith("int"))


def compare_keys(content: Any, keys: Iterable[Key]) -> list[str]:
    """Describe how the keys of a JSON document differ from those of the schema.

    Null, an empty list or an empty object stands for all keys below it.
    """
    if content in (None, {}, []):
        return []
    patterns = {name: key for key in keys for name in names_of_keys([key])}
    expressions = {name: re.compile(_expression(name)) for name in patterns}
    # The more letters outside placeholders, the more specific.
    order = sorted(patterns, key=lambda name: -len(re.sub(r"<\w+>", "", name)))
    used, foreign = set(), []
    for name, value in _flatten(content).items():
        if match := next((p for p in order if expressions[p].fullmatch(name)), None):
            used.add(match)
        elif below := [p for p in order if value is None and _is_below(p, name)]:
            used.update(below)
        else:
            foreign.append(name)
    problems = [f"keys not in the schema: {foreign[:12]}"] if foreign else []
    if lacking := [p for p, key in patterns.items() if p not in used and not key.optional]:
        problems.append(f"keys of the schema that are missing: {lacking[:12]}")
    return problems


def _flatten(content: Any, prefix: str = "", found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Dotted names of all keys, with ``[]`` for items of lists, and a value that is not empty."""
    found = {} if found is None else found
    if isinstance(content, dict) and content:
        for key, value in content.items():
            _flatten(value, f"{prefix}.{key}" if prefix else key, found)
    elif isinstance(content, list) and content:
        for value in content:
            _flatten(value, f"{prefix}[]", found)
    elif content not in (None, {}, []):
        found[prefix] = content
    else:
        found.setdefault(prefix, None)
    return found


def _expression(name: str) -> str:
    """Regular expression of the names that the name of a key with placeholders stands for."""
    pieces = re.split(r"<(\w+)>", name)
    texts = (_KEY_VALUES.get(s, _WORD) if i % 2 else re.escape(s) for i, s in enumerate(pieces))
    return "".join(f"(?:{text})" for text in texts)


def _is_below(pattern: str, name: str) -> bool:
    """Whether a key of the schema lies below a key of a document."""
    ends = [match.start() for match in re.finditer(r"\[\]|\.", pattern)]
    return any(re.fullmatch(_expression(pattern[:end]), name) for end in ends)


def _compare_record(path: Path, columns: Sequence[Column]) -> list[str]:
    features = utils.tf.train.Example.FromString(first_record(path) or b"").features.feature
    found = {name: features[name].WhichOneof("kind").removesuffix("_list") for name in features}
    differing = {*found.items()} ^ {(column.name, column.dtype) for column in columns}
    return [f"features: {sorted(differing)}"] if found and differing else []


def _compare_fits(path: Path, product: Product, values: _Values) -> list[str]:
    problems = []
    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
        if product.columns:
            problems += _compare_hdu(hdus[1], product.columns, values)
            units = {column.name: column.unit or "" for column in hdus[1].columns}
            problems += [
                f"unit of {column.name}: found {units[column.name]!r}, expected {column.unit!r}"
                for column in expand(product.columns, values)
                if units.get(column.name, column.unit) != column.unit
            ]
        for hdu in product.hdus:
            if hdu.name not in names:
                problems.append(f"no HDU {hdu.name} among {names}")
                continue
            header = hdus[hdu.name].header
            if lacking := [key.name for key in hdu.keys if key.name not in header]:
                problems.append(f"HDU {hdu.name}: no keywords {lacking}")
            if hdu.columns:
                found = _compare_hdu(hdus[hdu.name], hdu.columns, values)
                problems += [f"HDU {hdu.name}: {problem}" for problem in found]
        if product.hdus and (foreign := {*names} - {h.name for h in product.hdus} - {"PRIMARY"}):
            problems.append(f"HDUs not in the schema: {foreign}")
    return problems


def _compare_hdu(hdu: fits.BinTableHDU, columns: Sequence[Column], values: _Values) -> list[str]:
    table = Table(hdu.data)
    found = {name: _type_name(table[name].dtype) for name in table.colnames}
    return compare_columns(found, columns, values)


def main(runs: Iterable[str]) -> int:
    """Print the differences of some runs; returns their number."""
    problems, numbers = [], Counter[str]()
    for run in runs:
        found, seen = compare_run(Path(run))
        problems += found
        numbers += seen
    print(*problems, sep="\n")
    print(f"{numbers.total()} files of {len(numbers)} products, {len(problems)} differences")
    return len(problems)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
