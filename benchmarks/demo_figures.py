"""Write the figures of a finished demo into the documents.

Where a document quotes a figure of the demo, it names the file of the run, the key and the format
in a comment that readers do not see:

    an AUC of <!-- evaluation/metrics.json auc .3f -->0.913<!-- -->

This command reads the figures from a run, replaces the text between the comments, and keeps the
figures in docs/demo.json, with which a test compares the documents:

    python benchmarks/demo_figures.py [results/demo]
    python benchmarks/demo_figures.py --from docs/demo.json       # the documents alone
"""

import argparse
import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

ROOT = Path(__file__).resolve().parent.parent

#: Figures of the demo that the documents quote: file of the run, key -> value.
FIGURES = ROOT / "docs" / "demo.json"

#: A quoted figure: file of the run, key (``a.b.0`` for an entry of a list of b of a,
#: ``a[b=0.9].c`` for c of the row of a list where b is 0.9), format as in `format`, and the text.
QUOTED = re.compile(r"<!-- (\S+\.json) ([^>]+?) (\S+) -->(.*?)<!-- -->", re.DOTALL)


def documents() -> list[Path]:
    """Return the documents that may quote figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def quoted(text: str) -> set[tuple[str, str]]:
    """Files and keys of the figures that a document quotes."""
    return {(match[1], match[2]) for match in QUOTED.finditer(text)}


def read_figures(run: Path, names: set[tuple[str, str]]) -> dict[str, Any]:
    """Figures of a run by file and key."""
    figures = {}
    for file, key in sorted(names):
        path = run / file
        if not path.is_file():
            raise LenspipeError(f"{path}: no such file; finish the run first")
        try:
            names_of_key = _NAME.findall(key)
            figures[f"{file} {key}"] = reduce(_entry, names_of_key, json.loads(path.read_text()))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise LenspipeError(f"{path}: no key {key} ({error!r}); see its keys") from error
    return figures


#: One step of a key: ``[b=0.9]``, or a name or number.
_NAME = re.compile(r"\[[^]]+\]|[^.[\]]+")


def _entry(value: Any, name: str) -> Any:
    if name.startswith("["):
        column, wanted = name[1:-1].split("=")
        rows = [row for row in value if row[column] == float(wanted)]
        if len(rows) != 1:
            raise KeyError(f"{len(rows)} rows with {name[1:-1]}")
        return rows[0]
    return value[int(name)] if isinstance(value, list) else value[name]


def with_figures(text: str, figures: dict[str, Any]) -> str:
    """Return a document with the figures that it quotes."""

    def replace(match: re.Match[str]) -> str:
        file, key, form = match[1], match[2], match[3]
        value = format(figures[f"{file} {key}"], form).removesuffix("%")
        return f"<!-- {file} {key} {form} -->{value}<!-- -->"

    return QUOTED.sub(replace, text)


def write(path: Path, text: str) -> None:
    """Write a document."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path("results/demo"))
    parser.add_argument("--from", dest="figures", type=Path, metavar="FILE",
                        help="take the figures from this file instead of a run")  # fmt: skip
    args = parser.parse_args()
    texts = {path: path.read_text(encoding="utf-8") for path in documents()}
    if args.figures:
        figures = json.loads(args.figures.read_text())
    else:
        figures = read_figures(args.run, set().union(*map(quoted, texts.values())))
        write(FIGURES, json.dumps(figures, indent=1, sort_keys=True) + "\n")
    for path, text in texts.items():
        if (new := with_figures(text, figures)) != text:
            write(path, new)
            print(f"{path.relative_to(ROOT)}: figures of the demo renewed")


if __name__ == "__main__":
    main()
