"""Damaged and odd variants of valid tables, in all formats, given to the readers of users' tables.

Rows that come out, and rows that the log or the error names as left out, have to add up to the rows
that went in; whatever can't be read has to be refused by a `LenspipeError` in one line.
"""

import contextlib
import csv
import gzip
import io
import logging
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table

from lenspipe.candidates.redshifts import add_redshifts
from lenspipe.catalogs.known_lenses import read_catalogue, read_graded_lists
from lenspipe.catalogs.lists import read_list
from lenspipe.catalogs.targets import read_targets
from lenspipe.completeness.quantities import selection_quantities, user_quantities
from lenspipe.config.learning import Catalogue
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.stacks import known_columns
from lenspipe.followup.choice import choose_candidates, read_arrows
from lenspipe.footprint.regions import named_bricks
from lenspipe.products.grades import add_grades, read_grades
from lenspipe.sample import grading_lists
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.table_formats import write_votable
from lenspipe.utils.tables import write_table
from lenspipe.utils.user_tables import read_user_table

SETTINGS = {"run": "x", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
N = 6
IDS = [f"9010-506100-{i}" for i in range(N)]
CANDIDATES = pd.DataFrame(
    {
        "id": IDS,
        "name": [f"DESI-{150 + i / 10:08.4f}+32.0000" for i in range(N)],
        "ra": 150 + np.arange(N) / 10,
        "dec": 32.0,
        "brick": "1501p320",
        "p": np.linspace(0.9, 0.4, N),
    }
)


def tables() -> dict[str, pd.DataFrame]:
    """A valid table of each kind, with names that look like numbers or like nothing."""
    names = ["Lens 1", "0012", "1e5", "NA", "nan", "a, b"]
    positions = CANDIDATES[["ra", "dec"]]
    grade = {"grade": list("ABCDAB")}
    return {
        "positions": positions.assign(name=names, **grade),
        "targets": positions.assign(name=names),
        "grades": CANDIDATES[["id", "name"]].assign(**grade, mean=3.5),
        "mined": CANDIDATES[["name", "id", "ra", "dec", "brick", "p"]].assign(**grade),
        "names": CANDIDATES[["name"]],
        "bricks": pd.DataFrame({"brick": [f"150{i}p320" for i in range(N)], "note": "x"}),
        "population": pd.DataFrame(
            {"theta_e_arcsec": 1.5, "arc_snr": 20.0, "mag_z": 18 + np.arange(N) / 10, "name": names}
        ),
        "redshifts": positions.assign(z_phot=0.5, z_spec=0.4),
        "cutouts": positions.assign(name=names, mag=18.0),
        "arrows": CANDIDATES[["name"]].assign(dx=1.0, dy=np.arange(N) / 10.0, label=list("ABCDEF")),
    }


Write = Callable[[np.random.Generator, pd.DataFrame], bytes]


def as_text(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write text as editors, spreadsheets and people do."""
    delimiter = str(rng.choice([",", ";", "\t", "|", ",", ","]))
    cells = table.astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))
    if delimiter in ";\t" and rng.random() < 0.4:
        for name in table.select_dtypes("number"):
            cells[name] = cells[name].str.replace(".", ",")
    stream = io.StringIO()
    quoting = int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([list(map(str, cells)), *cells.to_numpy().tolist()])
    lines = stream.getvalue().splitlines()
    if rng.random() < 0.2:
        lines = [line + delimiter for line in lines]
    elif rng.random() < 0.2:
        lines[1:] = [line + delimiter for line in lines[1:]]
    if rng.random() < 0.1 and len(lines) > 2:
        at = int(rng.integers(1, len(lines)))
        lines[at] += f"{delimiter} a remark"
    if rng.random() < 0.1 and len(lines) > 2:
        lines[int(rng.integers(1, len(lines)))] = f"# {lines[1]}"
    if rng.random() < 0.2:
        lines.insert(
            0, str(rng.choice(["# mine", "My lenses", "", f"x{delimiter * len(cells.T)}"]))
        )
    if rng.random() < 0.2:
        lines += [str(rng.choice(["", delimiter * (len(cells.T) - 1), "   "]))] * 2
    if rng.random() < 0.1:
        lines[0] = lines[0].upper()
    if rng.random() < 0.1:
        lines[0] = f" {lines[0]} "
    text = str(rng.choice(["\n", "\r\n", "\r"])).join([*lines, ""])
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le"]))
    return text.encode(encoding, "replace")


def as_blanks(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write columns separated by blanks, texts in quotation marks."""
    cells = table.astype(object).map(lambda cell: str(cell).replace('"', "'"))
    texts = table.map(lambda cell: isinstance(cell, str))
    rows = cells.where(~texts, '"' + cells + '"').to_numpy().tolist()
    # A comment is a header only if it has a usual name.
    usual = {str(name).lower() for name in table} & {"ra", "dec", "name", "id", "brick", "grade"}
    header = ("# " if usual and rng.random() < 0.5 else "") + "  ".join(map(str, table))
    return "\n".join([header, *("  ".join(row) for row in rows), ""]).encode()


def as_box(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write text with lines around its cells."""
    cells = table.astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))
    cells = cells.map(lambda cell: cell.replace("\t", " "))
    boxes = str(rng.choice(["psql", "pipe", "orgtbl"]))
    return cells.to_markdown(index=False, tablefmt=boxes, disable_numparse=True).encode()


def _astropy(rng: np.random.Generator, table: pd.DataFrame, ascii_only: bool = False) -> Table:
    columns = {}
    for name in table:
        values = table[name]
        if values.dtype == object or pd.api.types.is_string_dtype(values):
            texts = values.astype(object).where(values.notna(), "").map(str).tolist()
            texts = [t.encode("ascii", "replace").decode() for t in texts] if ascii_only else texts
            columns[str(name)] = np.array(texts, dtype=str)
        else:
            kind = str(rng.choice(["f8", "f8", ">f8", "f4"]))
            columns[str(name)] = values.to_numpy().astype(kind)
    result = Table(columns)
    if rng.random() < 0.3:
        for name in {"ra", "dec"} & set(result.colnames):
            result[name] = (np.asarray(result[name], "f8") * u.deg).to(
                rng.choice([u.deg, u.rad, u.arcsec, u.mas])
            )
    if rng.random() < 0.2 and len(result):
        result["several"] = np.zeros((len(result), 3))
    if rng.random() < 0.2 and len(result):
        result["count"] = MaskedColumn(np.arange(len(result)), mask=np.arange(len(result)) % 2 == 0)
    return result


def as_fits(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write FITS, with units, columns of several values and missing numbers."""
    stream = io.BytesIO()
    _astropy(rng, table, ascii_only=True).write(stream, format="fits")
    return stream.getvalue()


def as_ecsv(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write ECSV."""
    stream = io.StringIO()
    _astropy(rng, table).write(stream, format="ascii.ecsv")
    return stream.getvalue().encode()


def as_votable(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write VOTable, as text or as base64."""
    stream = io.BytesIO()
    votable = from_table(_astropy(rng, table))
    write_votable(
        votable, stream, tabledata_format=str(rng.choice(["tabledata", "binary", "binary2"]))
    )
    return stream.getvalue()


def as_parquet(rng: np.random.Generator, table: pd.DataFrame) -> bytes:
    """Write Parquet, perhaps with a column as pandas's index."""
    stream = io.BytesIO()
    table = table.rename(columns=str)
    if rng.random() < 0.3:
        table = table.set_index(table.columns[int(rng.integers(len(table.columns)))])
    elif rng.random() < 0.3:
        table = table.convert_dtypes()
    table.to_parquet(stream)
    return stream.getvalue()


FORMATS: dict[str, Write] = {
    "csv": as_text,
    "tsv": as_text,
    "txt": as_blanks,
    "md": as_box,
    "fits": as_fits,
    "ecsv": as_ecsv,
    "vot": as_votable,
    "parquet": as_parquet,
}


def spoil_values(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    """Change some values, columns or rows of a table."""
    table = table.astype(dict.fromkeys(table, object)).copy()
    number = len(table)
    cells = [
        *(
            "",
            None,
            np.nan,
            "-",
            "null",
            "N/A",
            "--",
            1e20,
            -99,
            np.inf,
            "x",
            "1,5",
            "1e5",
            "A",
            "d",
        ),
        *("Größe", "a–b", "12:30:05", "-0d30m36s", "../../x", "a\tb", 'a"b', "a'b", "#1", "=1+1"),
        *("0001p000", "\u22122.5", " padded ", "150.1\u00b0", "#N/A", "\u200bA", "1.5D2", "---"),
    ]
    for _ in range(int(rng.integers(0, 3))):
        row, column = int(rng.integers(number)), int(rng.integers(len(table.columns)))
        table.iat[row, column] = cells[int(rng.integers(len(cells)))]
    if rng.random() < 0.1:
        table = table.drop(columns=table.columns[int(rng.integers(len(table.columns)))])
    if rng.random() < 0.2 and len(table.columns):
        table = table.assign(mine=[f"note {i}" for i in range(number)])
    if rng.random() < 0.1 and len(table.columns):
        table = pd.concat([table, table.iloc[:1]], ignore_index=True)
    if rng.random() < 0.05:
        table = table.iloc[:0]
    if rng.random() < 0.2 and len(table.columns):
        table = table.iloc[:, rng.permutation(len(table.columns))]
    if rng.random() < 0.1:
        table = table.rename(columns=lambda name: str(name).upper())
    return table.infer_objects()


def spoil_bytes(rng: np.random.Generator, content: bytes) -> tuple[bytes, bool]:
    """Damage a file now and then; return it and whether its rows are still known."""
    dice = rng.random()
    if dice < 0.8 or not content:
        return (gzip.compress(content) if dice < 0.1 else content), True
    if dice < 0.88:
        return content[: int(rng.integers(len(content)))], False
    array = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, len(array), int(rng.integers(1, 20)))
    array[places] = rng.integers(0, 256, len(places))
    return array.tobytes(), False


class _Log(logging.Handler):
    """Counts the rows that the log names as left out."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def left_out(self) -> int:
        found = (re.search(r": (\d+) (?:rows|lines|grades) left out", line) for line in self.lines)
        return sum(int(match[1]) for match in found if match)


def _shifted(ra: pd.Series) -> bool:
    """Whether right ascensions are none of those that were written."""
    spoilt = [1.5, -99, 187.52083, -2.5, -0.51, 1e5, 150]
    written = np.mod([*CANDIDATES["ra"], *spoilt], 360)
    near = np.isclose(np.asarray(ra, float)[:, None], written, atol=1e-3).any(axis=1)
    return not near.all()


def _read_all(kind: str, path: Path, folder: Path, known: bool) -> Iterator[int]:
    """Give a file to each reader of its kind; yield the rows that come out, -1 if they changed."""
    yield len(read_user_table(path, "a table").frame())
    if kind == "positions":
        for read in (
            lambda: read_list(path),
            lambda: read_catalogue(Catalogue(path=str(path))),
            lambda: read_graded_lists([str(path)]),
        ):
            table = read()
            yield -1 if known and _shifted(table["ra"]) else len(table)
    elif kind == "targets":
        table = read_targets(path, 0.25)
        yield -1 if known and _shifted(table["ra"]) else len(table)
    elif kind == "grades":
        grades = read_grades(path, any_word=True)
        add_grades(CANDIDATES, grades, path)
        yield len(grades)
    elif kind == "mined":
        settings = load_settings(SETTINGS)
        copy = folder / "version-1.csv"
        copy.write_bytes(path.read_bytes())
        before = read_user_table(copy, "x")
        number = before.find("grade")
        wanted = [] if number is None else sorted(before.text(number)[before.text(number) != ""])
        cutouts = SimpleNamespace(
            release=settings.release, bands=settings.survey.bands, read=lambda rows: [None]
        )
        grading_lists.write_for_grading(
            CANDIDATES, copy, cutouts, settings.mosaics, settings.run, "mined"
        )
        after = read_user_table(copy, "x")
        kept = sorted(after.text(after.find("grade"))[after.text(after.find("grade")) != ""])
        missing = {"-", "--", "null", "N/A", "nan"}
        same = [g.upper() for g in wanted if g not in missing] <= [g.upper() for g in kept]
        yield (
            len(before)
            if same and set(before.names) <= {*after.names, *_any_case(after.names)}
            else -1
        )
    elif kind == "names":
        with contextlib.suppress(LenspipeError):
            choose_candidates(CANDIDATES, load_settings(SETTINGS).paths, file=path)
    elif kind == "bricks":
        footprint = load_settings(SETTINGS).footprint.model_copy(update={"brick_list": str(path)})
        named_bricks(footprint)
    elif kind == "population":
        yield len(user_quantities(read_user_table(path, "x"), selection_quantities("grz")))
    elif kind == "redshifts":
        settings = load_settings(SETTINGS)
        add_redshifts(CANDIDATES, [str(path)], settings.retrieval, settings.paths.hosts)
    elif kind == "cutouts":
        table = read_user_table(path, "x")
        scores = known_columns(path, table, len(table))
        if known and "ra" in scores and _shifted(np.mod(scores["ra"].dropna(), 360)):
            yield -1
        yield len(table)
        for suffix in ("fits", "csv", "parquet"):
            write_table(folder / f"scores.{suffix}", scores)
            if len(read_user_table(folder / f"scores.{suffix}", "x").frame()) != len(table):
                yield -1
    elif kind == "arrows":
        yield len(read_arrows(path, CANDIDATES))


def _any_case(names: list[str]) -> set[str]:
    return {name.upper() for name in names} | {name.lower() for name in names}


def fuzz_tables(seed: int, number: int) -> list[str]:
    """Read many odd tables.

    Returns
    -------
    list of str
        A line for each stack trace (anything but a `LenspipeError` of one line) and each silent
        loss: rows that neither came out nor were named as left out.
    """
    problems = []
    kinds, log = list(tables()), logging.getLogger("lenspipe")
    before = log.level
    log.setLevel(logging.INFO)
    draw_page = grading_lists.draw_page
    grading_lists.draw_page = lambda *given, **options: None
    try:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(number):
                rng = np.random.default_rng([seed, i])
                kind = kinds[int(rng.integers(len(kinds)))]
                suffix = list(FORMATS)[int(rng.integers(len(FORMATS)))]
                table = spoil_values(rng, tables()[kind])
                if not len(table.columns):
                    continue
                try:
                    content = FORMATS[suffix](rng, table)
                except Exception:  # The format, or its writer, cannot hold such a table.
                    continue
                content, known = spoil_bytes(rng, content)
                path = Path(folder) / f"{kind}.{suffix}"
                path.write_bytes(content)
                rows = len(table) - int((table.isna() | (table == "")).all(axis=1).sum())
                problems += _try(f"{seed}/{i} {kind} {suffix}", kind, path, rows, known, log)
    finally:
        log.setLevel(before)
        grading_lists.draw_page = draw_page
    return problems


def _try(
    title: str, kind: str, path: Path, rows: int, known: bool, log: logging.Logger
) -> list[str]:
    handler = _Log()
    log.addHandler(handler)
    problems = []
    try:
        for out in _read_all(kind, path, path.parent, known):
            if out < 0 or (known and out + handler.left_out() < rows):
                problems.append(f"{title}: {rows} rows in, {out} out, {handler.left_out()} named")
            handler.lines.clear()
    except LenspipeError as error:
        if "\n" in str(error):
            problems.append(f"{title}: several lines: {str(error)[:200]!r}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problems.append(
            f"{title}: {type(error).__name__}: {str(error)[:150]} ({where.filename}:{where.lineno})"
        )
    finally:
        log.removeHandler(handler)
    return problems
