"""Tables that users give or edit: the only reader of such files, in whatever format they are."""

import bz2
import gzip
import lzma
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, cast

import numpy as np
import pandas as pd
from astropy import units as u

from lenspipe.utils.delimited import INVISIBLE, NO_NUMBER, read_delimited
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.table_formats import (
    RawTable,
    Wanted,
    flat,
    line_numbers,
    read_ecsv,
    read_fits,
    read_parquet,
    read_votable,
)
from lenspipe.utils.tables import unescape_formulas
from lenspipe.utils.texts import decode_text

__all__ = [
    "UserTable",
    "line_numbers",
    "normalised",
    "parse_numbers",
    "read_text",
    "read_user_table",
    "to_numbers",
]

#: Columns of names and words: kept as text, even if all of them look like numbers.
TEXT_COLUMNS = frozenset(
    (
        "name",
        "id",
        "brick",
        "brickname",
        "region",
        "kind",
        "type",
        "grade",
        "ref",
        "label",
        "comment",
    )
)

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ"

#: What a file may be instead of a table, by its first bytes.
_NO_TABLES = {
    b"PK\x03\x04": "it is a workbook or another zip archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "it is an old Excel workbook; save the sheet as CSV",
    b"\x89HDF": "it is HDF5; write the table as FITS, Parquet or CSV",
    b"SQLite format 3": "it is an SQLite database; export the table as CSV",
    b"%PDF": "it is a PDF",
}

#: Integers above it are not exact as floating-point numbers.
_MAX_EXACT = 2**53


@dataclass
class UserTable:
    """The content of a user's table.

    Attributes
    ----------
    path
        As in messages.
    names, units
        Of the columns, stripped; empty where not given.
    columns
        Text (str, empty where missing), or numbers of native types, NaN or NA where missing.
    lines
        Line numbers of the rows, from 1; of a binary table row numbers, from 1.
    noun
        What these numbers count: line or row.
    broken
        Lines whose number of cells does not fit the header; the columns lack them.
    arrays
        Names of columns with several values per row, which are left out.
    """

    path: str
    names: list[str]
    units: list[str]
    columns: list[pd.Series]
    lines: Sequence[int]
    noun: str = "row"
    broken: list[int] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def find(self, *names: str) -> int | None:
        """Return the number of the column with the first of some names that is present.

        Case, blanks around a name, blanks or hyphens for underscores, and a unit in brackets after
        it do not matter.

        Raises
        ------
        LenspipeError
            Several columns have that name.
        """
        present = [normalised(name)[0] for name in self.names]
        for name in names:
            numbers = [number for number, other in enumerate(present) if other == name]
            if len(numbers) > 1:
                raise LenspipeError(
                    f"{self.path}: found more than one column {name}, in upper or lower case; "
                    "expected one; rename the others"
                )
            if numbers:
                return numbers[0]
        return None

    def text(self, column: int | None) -> pd.Series:
        """Values of a column as stripped text, empty where missing; empty without the column."""
        if column is None:
            return pd.Series("", range(len(self)), dtype=str)
        values = self.columns[column]
        if pd.api.types.is_float_dtype(values) and not isinstance(values.dtype, pd.Float64Dtype):
            finite = values[np.isfinite(values)]
            if len(finite) and (finite == np.round(finite)).all() and (finite.abs() < 1e15).all():
                values = values.where(np.isfinite(values)).astype("Int64")
        present = values.notna()
        return values.astype(object).where(present, "").map(str).astype(str).str.strip()

    def numbers(self, column: int, unit: str = "") -> np.ndarray:
        """Values of a column as float64, NaN where missing.

        Parameters
        ----------
        column
        unit
            To which values are converted from the column's; magnitudes are not.

        Raises
        ------
        LenspipeError
            A cell is no number, or the column has another kind of unit.
        """
        values, unreadable = parse_numbers(self.columns[column])
        if unreadable.any():
            row = int(np.flatnonzero(unreadable)[0])
            more = f", and {unreadable.sum() - 1} more such rows" if unreadable.sum() > 1 else ""
            raise LenspipeError(
                f"{self.path}: {self.where([row])}: found {self.names[column]} "
                f"{self.columns[column].iloc[row]!r}{more}, expected a number; correct it"
            )
        given = self.units[column] or normalised(self.names[column])[1]
        if not given or not unit or unit == "mag":
            return values
        try:
            return values * u.Unit(given).to(u.Unit(unit))
        except (ValueError, TypeError):
            raise LenspipeError(
                f"{self.path}: found column {self.names[column]} in {given}, expected {unit}; "
                "convert it"
            ) from None

    def where(self, rows: Iterable[int]) -> str:
        """Describe rows by their numbers from 0: ``lines 3, 5, 6, 7, 8 and 12 more``."""
        return line_numbers(self.noun, [self.lines[row] for row in rows])

    def refuse_broken(self) -> None:
        """Refuse a table that has rows with another number of cells than the header.

        Raises
        ------
        LenspipeError
            There are any.
        """
        if self.broken:
            raise LenspipeError(
                f"{self.path}: {line_numbers(self.noun, self.broken)}: found another number of "
                f"cells than in the header ({', '.join(self.names)}); name the missing column, or "
                "put text that holds the delimiter in quotation marks"
            )

    def refuse_repeated(self) -> None:
        """Refuse a table of which several columns have the same name.

        Raises
        ------
        LenspipeError
            There are any.
        """
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise LenspipeError(
                f"{self.path}: found more than one column {repeated[0] or 'without a name'}; "
                "expected different names; rename them"
            )

    def frame(self) -> pd.DataFrame:
        """All columns, by name; those whose cells are all numbers as numbers.

        Columns of names and words (`TEXT_COLUMNS`) remain text.

        Raises
        ------
        LenspipeError
            Two columns have the same name, or a row does not fit the header.
        """
        self.refuse_broken()
        self.refuse_repeated()
        if self.arrays:
            log.info(
                "%s: columns with several values per row left out: %s",
                self.path, ", ".join(self.arrays),
            )  # fmt: skip
        columns = dict(zip(self.names, self.columns, strict=True))
        return pd.DataFrame({name: _typed(name, values) for name, values in columns.items()})


def normalised(name: str) -> tuple[str, str]:
    """Return a column's name in lower case with underscores, and the unit in brackets after it."""
    name = name.strip().lower()
    unit = ""
    if name.endswith(("]", ")")):
        base, bracket, rest = name.partition("[" if name.endswith("]") else "(")
        if base.strip() and bracket:
            name, unit = base.strip(), rest[:-1].strip()
    return "_".join(name.replace("-", " ").split()), unit


def parse_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Convert cells to float64, NaN where missing; also return which are neither (bool)."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan), np.zeros(len(column), bool)
    text = column.astype(object).where(column.notna(), "").map(str).astype(str).str.strip()
    values = to_numbers(text)
    unreadable = np.isnan(values)
    if unreadable.any():
        unreadable &= ~text.str.lower().isin(NO_NUMBER).to_numpy()
    return values, unreadable


def to_numbers(text: pd.Series) -> np.ndarray:
    """Convert texts to float64, NaN where they are no numbers."""
    # Published tables may have a typographic minus sign, and exponents of Fortran.
    text = text.str.replace(r"^[\u2212\u2013\ufe63\uff0d](?=[\d.])", "-", regex=True)
    text = text.str.replace(r"^([+-]?\d*\.\d*)[dD](?=[+-]?\d+$)", r"\1e", regex=True)
    return pd.to_numeric(text, errors="coerce").to_numpy(np.float64)


def _typed(name: str, column: pd.Series) -> pd.Series:
    """A column of text as numbers, if all of it are; integers where all are."""
    if pd.api.types.is_numeric_dtype(column) or normalised(name)[0] in TEXT_COLUMNS:
        return column
    values, unreadable = parse_numbers(column)
    missing = np.isnan(values)
    if unreadable.any() or missing.all():
        return column
    text = column[~missing].astype(str).str.strip()
    # Such as 0012, which is a name.
    if text.str.fullmatch(r"[+-]?0\d+").any():
        return column
    if text.str.fullmatch(r"[+-]?\d+").all():
        exact = (np.abs(values[~missing]) < _MAX_EXACT).all()
        if not exact and (np.abs(values[~missing]) >= 2**63).any():
            return column
        if not missing.any():
            return text.astype("int64")
        if not exact:
            return text.astype("Int64").reindex(column.index)
    return pd.Series(values, column.index)


def read_user_table(
    path: str | os.PathLike[str],
    expected: str,
    *,
    wanted: Callable[[str], bool] | None = None,
    name: str | None = None,
) -> UserTable:
    """Read a table that a user gives or has edited.

    Rows that are left out are in `UserTable.broken`, or named in the log (lines before the header
    and comments).

    Parameters
    ----------
    path
        FITS, Parquet, VOTable or ECSV, recognised by its content, or any delimited text; each may
        be compressed with gzip, bzip2 or xz.
    expected
        What the file should hold, for messages.
    wanted
        Which columns to read from a FITS or Parquet file, by name; all if not given.
    name
        Of the file in messages, such as its address; `path` if not given.

    Raises
    ------
    LenspipeError
        There is no such file, or it is no table.
    """
    name = str(path) if name is None else name
    kind = "a table"
    try:
        kind, read = _reader(Path(path), name)
        with warnings.catch_warnings():
            # Archives write units and dates in non-standard ways.
            warnings.simplefilter("ignore")
            return read(name, wanted)
    except LenspipeError:
        raise
    # The libraries raise whatever a damaged file leads to.
    except Exception as error:
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        raise LenspipeError(
            f"{name}: can't be read as {kind} ({' '.join(reason.split())[:200]}); expected "
            f"{expected}"
        ) from None


def read_text(path: str | os.PathLike[str], expected: str) -> str:
    """Read a user's text, in whatever encoding it is; parameters as in `read_user_table`.

    Raises
    ------
    LenspipeError
        There is no such file, or it is no text.
    """
    try:
        return decode_text(Path(path).read_bytes())[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LenspipeError(f"{path}: can't be read ({reason}); expected {expected}") from None


_Read = Callable[[str, Wanted], UserTable]


def _reader(path: Path, name: str) -> tuple[str, _Read]:
    """Return the name of the file's format, and the function that reads it."""
    with open(path, "rb") as file:
        start = file.read(4096)
    source: Path | bytes = path
    openers: tuple[tuple[bytes, Any], ...] = ((_GZIP, gzip), (_BZIP2, bz2), (_XZ, lzma))
    for magic, module in openers:
        if start.startswith(magic):
            with module.open(path) as file:
                source = cast(bytes, file.read())
            start = source[:4096]
    for magic, problem in _NO_TABLES.items():
        if start.startswith(magic):
            raise ValueError(problem)
    if start.startswith(b"SIMPLE  ="):
        return "FITS", lambda name, wanted: _collect(name, read_fits(source, wanted))
    if start.startswith(b"PAR1"):
        return "Parquet", lambda name, wanted: _collect(name, read_parquet(source, wanted))
    content = source if isinstance(source, bytes) else path.read_bytes()
    lowered = start.replace(b"\0", b"").lower()
    if b"<votable" in lowered:
        return "VOTable", lambda name, wanted: _collect(name, read_votable(content, name))
    lowered = lowered.lstrip(b"\xef\xbb\xbf\xff\xfe \r\n")
    if lowered.startswith((b"<!doctype html", b"<html", b"<table")):
        raise ValueError("it is a web page")
    if re.match(rb"\{|\[\s*[\[{]", lowered):
        raise ValueError("it is JSON; write the table as CSV")
    if b"%ecsv" in lowered[:100]:
        return "ECSV", lambda name, wanted: _collect(name, read_ecsv(content, name))
    suffix = PurePath(name.lower().partition("?")[0].removesuffix(".gz")).suffix
    tabs = "\t" if suffix in (".tsv", ".tab") else None
    return "TSV" if tabs else "CSV", lambda name, wanted: _read_text(content, name, tabs)


def _read_text(content: bytes, name: str, preferred: str | None) -> UserTable:
    text, encoding = decode_text(content)
    if encoding in ("Windows-1252", "Latin-1"):
        log.info("%s: not UTF-8, read as %s", name, encoding)
    table = read_delimited(text, preferred)
    if table.skipped:
        log.info(
            "%s: %d lines left out, before the header or beginning with #: %s",
            name, len(table.skipped), line_numbers("line", table.skipped),
        )  # fmt: skip
    cells = unescape_formulas(pd.DataFrame(dict(enumerate(table.columns))))
    columns = [cells[number] for number in range(len(table.columns))]
    result = UserTable(name, table.names, table.units, columns, table.lines, "line", table.broken)
    if not len(result):
        result.refuse_broken()
    return result


def _collect(name: str, raw: RawTable) -> UserTable:
    """Make a table of columns of arrays; those of several values per row are left out."""
    result = UserTable(name, [], [], [], raw.lines, raw.noun)
    for title, unit, values in raw.columns:
        series = None if values is None else _series(values)
        if series is None:
            result.arrays.append(str(title))
        else:
            result.names.append(str(title).strip())
            result.units.append(str(unit or "").strip())
            result.columns.append(series)
    return result


def table_of_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> UserTable:
    """Make a table of arrays of the same length, by the names of the columns."""
    number = len(next(iter(arrays.values()), ()))
    columns = [(name, "", values) for name, values in arrays.items()]
    return _collect(path, RawTable(columns, range(1, number + 1)))


def _series(values: np.ndarray) -> pd.Series | None:
    """Values of any type and byte order as pandas accepts them; None for several per row."""
    mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    mask = None if mask is None else flat(mask)
    values = flat(np.asarray(values))
    if values.ndim != 1 or values.dtype.kind in "cV":
        return None
    if values.dtype.kind in "SU":
        # Tables of millions of rows have few different texts.
        texts, places = np.unique(values, return_inverse=True)
        cells = pd.array([_as_text(text) for text in texts.tolist()], dtype="str")
        series = pd.Series(cells.take(places)) if len(values) else pd.Series(cells)
        return series if mask is None else series.mask(mask, "")
    if values.dtype.kind == "O":
        cells = [_as_text(value) for value in values.tolist()]
        if any(cell is None for cell in cells):
            return None
        series = pd.Series(cells, dtype=str)
        return series if mask is None else series.mask(mask, "")
    if values.dtype.kind in "mM":
        return pd.Series(np.where(np.isnat(values), "", values.astype(str)), dtype=str)
    if values.dtype.kind == "f":
        values = values.astype(
            "f8" if values.dtype.itemsize > 8 else values.dtype.newbyteorder("=")
        )
        return pd.Series(values if mask is None else np.where(mask, np.nan, values))
    values = values.astype(values.dtype.newbyteorder("="))
    if mask is None or not mask.any():
        return pd.Series(values)
    if values.dtype.kind == "b":
        return pd.Series(np.where(mask, "", values.astype(str)), dtype=str)
    size = "UInt64" if values.dtype.kind == "u" else "Int64"
    return pd.Series(values.astype(size.lower())).astype(size).mask(mask)


def _as_text(value: Any) -> str | None:
    """Cell of a column of objects as stripped text; None if it holds several values."""
    if value is None or value is pd.NA or value is pd.NaT or value is np.ma.masked:
        return ""
    if isinstance(value, float) and np.isnan(value):
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    if isinstance(value, np.ndarray | list | tuple | dict | set | complex):
        return None
    return str(value).translate(INVISIBLE).strip("\0 \t\r\n\xa0")
