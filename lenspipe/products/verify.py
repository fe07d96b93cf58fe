"""Compare the files of runs with the schema.

``python -m lenspipe.products.verify results/demo ...`` reports files that fit no product, products without a
file, and columns or keys that differ from the schema. Exit status 1 if anything differs.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lenspipe.products.schema.registry import PRODUCTS, expand, product_of

#: Files of such suffixes have no table or keys.
_OPAQUE = {".png", ".html", ".keras", ".log", ".tsv", ".reg", ".gz", ".fz", ".pdf", ".tex", ".yaml"}


def placeholders(run: Path) -> dict[str, list[str]]:
    """Values of placeholders in a run, as the configuration beside its models says."""
    configs = [yaml.safe_load(path.read_text()) for path in run.glob("models/*/config.yaml")]
    bands = configs[0]["survey"]["bands"] if configs else ["g", "r", "z"]
    members = [name for c in configs for name in (c["ensemble"]["members"] or {})]
    models = [path.stem for path in run.glob("models/*") if path.is_dir()]
    models = [name for name in models if "_trial_" not in name and name not in members]
    return {
        "band": list(bands),
        "magband": list(dict.fromkeys((*bands, "z"))),
        "member": list(dict.fromkeys(members)),
        "model": models,
        "quantity": ["theta_e", "brightness", "seeing", "depth", "mag"],
    }


def kind(dtype: object) -> str:
    """Name of a type as the schema has it; strings of any length and kind are ``str``."""
    dtype = str(dtype)
    if dtype in ("object", "str", "string", "large_string", "category"):
        return "str"
    dtype = np.dtype(dtype)
    if dtype.kind in "SU":
        return "str"
    return dtype.newbyteorder("=").name


def compare(found: dict[str, str], product, columns, values, loose: bool = False) -> list[str]:
    """Differences of the columns found from those of the schema."""
    # A folder may hold models that other tables than this one were scored with.
    models = [name for name in values["model"] if f"p_{name}" in found] or ["<model>"]
    values = {**values, "model": models}
    known = list(expand(columns, values))
    wanted = {c.name: c for c in known if c.name in found or not c.optional}
    free = [c for c in columns if "<" in c.name and c.name.split("<")[1][:-1] not in values]
    extra = [
        name for name in found
        if name not in wanted and not any(_fits(c.name, name) for c in free)
    ]  # fmt: skip
    problems = []
    if extra:
        problems.append(f"columns not in the schema: {extra}")
    if lacking := [name for name in wanted if name not in found]:
        problems.append(f"columns of the schema that are not there: {lacking}")
    order = [name for name in found if name in wanted]
    expected = [name for name in wanted if name in found]
    if order != expected:
        problems.append(f"order: found {order}, expected {expected}")
    for name in expected:
        a, b = found[name], wanted[name].dtype
        if not _alike(a, b, loose):
            problems.append(f"column {name}: found {a}, expected {b}")
    return problems


def _alike(found: str, expected: str, loose: bool) -> bool:
    if found == expected or "object" in (found, expected):
        return True
    if not loose:
        return False
    # CSV and VOTable keep numbers, not their sizes; a column of texts may hold numbers only.
    if found == "empty" or expected == "str":
        return True
    numbers = ("int", "float")
    if not (found.startswith(numbers) and expected.startswith(numbers)):
        return False
    return not (found.startswith("float") and expected.startswith("int"))


def _fits(pattern: str, name: str) -> bool:
    text = re.escape(pattern)
    text = re.sub(r"<\w+>", ".+?", text)
    return re.fullmatch(text, name) is not None


def flatten(content, prefix: str = "", found: dict | None = None) -> dict[str, object]:
    """Dotted names of all keys, with a value that is not null if there is one; ``[]`` for items."""
    found = {} if found is None else found
    if isinstance(content, dict) and content:
        for key, value in content.items():
            flatten(value, f"{prefix}.{key}" if prefix else key, found)
    elif isinstance(content, list) and content:
        for value in content:
            flatten(value, f"{prefix}[]", found)
    elif prefix:
        empty = content is None or content == {} or content == []
        if prefix not in found or not empty:
            found[prefix] = None if empty else content
    return found


def compare_keys(content, product) -> list[str]:
    """Differences of a document's keys from the schema's."""
    patterns = {
        key.name + end: key
        for key in product.keys
        for end in (("", "_low", "_high") if key.interval else ("",))
    }
    regexes = {name: re.compile(_regex(name)) for name in patterns}
    # The more letters of its own, the more specific.
    order = sorted(patterns, key=lambda name: -len(re.sub(r"<\w+>", "", name)))
    used, foreign = set(), []
    for name, value in flatten(content).items():
        if fits := [p for p in order if regexes[p].fullmatch(name)]:
            used.add(fits[0])
            continue
        below = []
        if value is None:
            # Null, or an empty list or dictionary, stands for all keys below it.
            below = [p for p in order if _is_below(name, p)]
        if below:
            used |= set(below)
        elif product.key != "basis":
            foreign.append(name)
    problems = [f"keys not in the schema: {foreign[:12]}"] if foreign else []
    lacking = [p for p, key in patterns.items() if p not in used and not key.optional]
    if content in (None, {}, []) or product.key == "basis":
        lacking = []
    if lacking:
        problems.append(f"keys of the schema that are not there: {lacking[:12]}")
    return problems


#: Placeholder -> its values, where these are not words without a dot.
_VALUES = {
    **dict.fromkeys(("file", "reason", "choice", "key", "column", "host", "group"), ".+"),
    "rate": r"1e-\d",
    "split": "train|validation|test",
    "brightness": "arc_snr|arc_mag",
}


def _regex(name: str) -> str:
    parts = re.split(r"<(\w+)>", name)
    word = r"[^.\[\]]+"
    texts = (_VALUES.get(part, word) if i % 2 else re.escape(part) for i, part in enumerate(parts))
    return "".join(f"(?:{text})" for text in texts)


def _is_below(name: str, pattern: str) -> bool:
    """Whether a pattern is of keys below a name."""
    places = [i for i in range(len(pattern)) if pattern.startswith(("[]", "."), i)]
    return any(re.fullmatch(_regex(pattern[:i]), name) for i in places)


def check(path: Path, product, values) -> list[str]:
    """Differences of a file from the schema."""
    if path.suffix in _OPAQUE or product.temporary and product.key != "records":
        return []
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
        found = {
            name: kind({"double": "float64", "float": "float32", "string": "str"}.get(str(t), t))
            for name, t in zip(schema.names, schema.types, strict=True)
        }
        return compare(found, product, product.columns, values)
    if path.suffix in (".csv", ".txt"):
        if product.key == "targets_txt":
            return []
        table = pd.read_csv(path)
        found = {name: _kind_of_values(table[name]) for name in table}
        return compare(found, product, product.columns, values, loose=True)
    if path.suffix == ".vot":
        from astropy.io.votable import parse_single_table

        table = parse_single_table(path).to_table()
        found = {name: kind(table[name].dtype) for name in table.colnames}
        return compare(found, product, product.columns, values, loose=True)
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        if not product.keys:
            return []
        return compare_keys(content, product)
    if path.suffix == ".tfrecord":
        import tensorflow as tf

        record = next(iter(tf.data.TFRecordDataset(str(path)).take(1).as_numpy_iterator()))
        feature = tf.train.Example.FromString(record).features.feature
        found = {name: feature[name].WhichOneof("kind").removesuffix("_list") for name in feature}
        wanted = {column.name: column.dtype for column in product.columns}
        return [] if dict(found) == wanted else [
            f"features: {sorted(set(found.items()) ^ set(wanted.items()))}"
        ]  # fmt: skip
    if path.suffix == ".fits":
        from astropy.io import fits
        from astropy.table import Table

        problems = []
        with fits.open(path) as hdus:
            names = [hdu.name for hdu in hdus]
            if product.columns:
                hdu = hdus[1]
                found = {c.name: kind(Table(hdu.data)[c.name].dtype) for c in hdu.columns}
                problems += compare(found, product, product.columns, values)
                units = {c.name: c.unit for c in hdu.columns}
                for column in expand(product.columns, values):
                    if column.name in units and (units[column.name] or "") != column.unit:
                        problems.append(f"unit of {column.name}: {units[column.name]}")
            for hdu in product.hdus:
                if hdu.name not in names:
                    problems.append(f"no HDU {hdu.name} in {names}")
                    continue
                there = hdus[hdu.name]
                if absent := [key.name for key in hdu.keys if key.name not in there.header]:
                    problems.append(f"{hdu.name}: no keywords {absent}")
                if hdu.columns:
                    data = Table(there.data)
                    found = {name: kind(data[name].dtype) for name in data.colnames}
                    columns = hdu.columns
                    if hdu.name == "CELLS":
                        found, columns = _cells(found, columns)
                    found = compare(found, product, columns, values)
                    problems += [f"{hdu.name}: {problem}" for problem in found]
            if product.hdus:
                extra = set(names) - {h.name for h in product.hdus} - {"PRIMARY"}
                if extra:
                    problems.append(f"HDUs not in the schema: {extra}")
        return problems
    return []


def _kind_of_values(values: pd.Series) -> str:
    """Type of a CSV's column; whole numbers with gaps, which pandas reads as floats, are whole."""
    there = values.dropna()
    if there.empty:
        return "empty"
    if kind(values.dtype) == "float64" and values.isna().any() and (there % 1 == 0).all():
        return "int64"
    return kind(values.dtype)


def _cells(found, columns):
    """CELLS has the edges quantity by quantity: low, high, low, high."""
    edges = {name: dtype for name, dtype in found.items() if not _is_edge(name)}
    return edges, [column for column in columns if "<" not in column.name]


def _is_edge(name: str) -> bool:
    return re.fullmatch(r"(theta_e|brightness|seeing|depth|mag)_(low|high)", name) is not None


def main(runs: list[str]) -> int:
    """Report differences; returns how many there are."""
    number, seen = 0, Counter()
    for run in map(Path, runs):
        values = placeholders(run)
        files = sorted(path for path in run.rglob("*") if path.is_file())
        files = [path for path in files if not any(part.startswith(".") for part in path.parts[2:])]
        for path in files:
            name = path.relative_to(run).as_posix()
            product = product_of(name)
            if product is None:
                print(f"{run}/{name}: fits no product")
                number += 1
                continue
            seen[product.key] += 1
            for problem in check(path, product, values):
                print(f"{run}/{name} ({product.key}): {problem}")
                number += 1
    print(f"\n{sum(seen.values())} files of {len(seen)} products, {number} differences")
    absent = [p for p in PRODUCTS.values() if p.path and not seen[p.key]]
    for product in absent:
        why = product.optional or ("temporary" if product.temporary else "NO CONDITION")
        print(f"  without a file: {product.path} ({why})")
    return number


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
