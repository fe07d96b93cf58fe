"""Files of lists: CSV, TSV, ECSV and FITS, local, at an address or in a package."""

import contextlib
import csv
import gzip
import importlib.util
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TextIO, cast

import numpy as np
import pandas as pd
from astropy.table import Column, Table

from lenspipe.config.data import Retrieval
from lenspipe.retrieval.remote import RemoteSource
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import open_fits
from lenspipe.utils.tables import unescape_formulas

__all__ = ["Raw", "line_numbers", "read_raw"]


@dataclass
class Raw:
    """The unprocessed content of a list.

    Attributes
    ----------
    table
        Columns by number, of any type.
    names, units
        Of the columns; a unit is None or empty where none is given.
    lines
        Line numbers of the rows, from 1; of a FITS table row numbers, from 1.
    broken
        Lines with more cells than the header; the table lacks them.
    """

    table: pd.DataFrame
    names: list[str]
    units: list[str | None]
    lines: Sequence[int]
    broken: tuple[int, ...] = ()


def line_numbers(path: str | os.PathLike[str], lines: Iterable[int]) -> str:
    """Describe lines of the list at `path`: ``lines 3, 5, 6, 7, 8 and 12 more``."""
    lines = list(lines)
    noun = "row" if _suffix(path) in (".fits", ".fit") else "line"
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"{noun}{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:5]))}{more}"


def _suffix(path: str | os.PathLike[str]) -> str:
    """Lower-case suffix of a file or address, without ``.gz``."""
    return PurePath(str(path).lower().partition("?")[0].removesuffix(".gz")).suffix


def read_raw(
    path: str,
    key: str,
    retrieval: Retrieval | None = None,
    hosts: Path | None = None,
    columns: Collection[str] | None = None,
) -> Raw:
    """Read the unprocessed content of a list.

    Parameters
    ----------
    path
        FITS, ECSV, TSV or else CSV, by the suffix, which ``.gz`` may follow; the address of such a
        file; or ``lenscat``, the table of that package.
    key
        Configuration key that holds the path, for messages.
    retrieval, hosts
        Needed for an address, as in `lenspipe.retrieval.remote.RemoteSource`; the file is cached.
    columns
        Lower-case names of the columns to read from a FITS table; all if not given.

    Raises
    ------
    LenspipeError
        There is no such file, or it can't be read.
    RetrievalError
        A server did not deliver the file.
    """
    formats = {".fits": "FITS", ".fit": "FITS", ".ecsv": "ECSV", ".tsv": "TSV"}
    file_format = formats.get(_suffix(path), "CSV")
    zipped = path.lower().partition("?")[0].endswith(".gz")
    try:
        with _local(path, retrieval, hosts) as local:
            if file_format == "FITS":
                return _read_fits(local, columns)
            if file_format == "ECSV":
                return _read_ecsv(local, zipped)
            return _read_csv(local, zipped, "\t" if file_format == "TSV" else ",")
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as {file_format} ({reason}); expected columns ra, dec in "
            f"degrees; correct config key {key}"
        ) from error


@contextlib.contextmanager
def _local(path: str, retrieval: Retrieval | None, hosts: Path | None) -> Iterator[Path]:
    """Yield a local file for a path, an address or ``lenscat``."""
    if path == "lenscat":
        yield _lenscat()
    elif is_remote(path) and retrieval and hosts:
        remote = contextlib.closing(RemoteSource(retrieval, hosts))
        with remote as source, source.table(path) as local:
            yield local
    else:
        yield Path(path)


def _lenscat() -> Path:
    """Find the table in lenscat's folder; importing it would require its plotting libraries."""
    package = importlib.util.find_spec("lenscat")
    folders = (package and package.submodule_search_locations) or []
    for path in (Path(folder) / "data" / "catalog.csv" for folder in folders):
        if path.is_file():
            return path
    raise LenspipeError(
        f"lenscat: {'found no data/catalog.csv in it' if package else 'not installed'}; "
        "pip install --no-deps lenscat, or give the address of its CSV"
    )


def _open_text(path: Path, zipped: bool) -> TextIO:
    file = (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig", newline="")
    return cast(TextIO, file)


def _read_csv(path: Path, zipped: bool, delimiter: str) -> Raw:
    rows, lines, broken = [], [], []
    names: list[str] | None = None
    with _open_text(path, zipped) as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            blank = len(row) < 2 and not "".join(row).strip()
            if blank or (names is None and row[0].startswith("#")):
                continue
            if names is None:
                names = row
            elif any(cell.strip() for cell in row[len(names) :]):
                broken.append(reader.line_num)
            else:
                rows.append((row + [""] * len(names))[: len(names)])
                lines.append(reader.line_num)
    if names is None:
        raise ValueError("it is empty")
    table = unescape_formulas(pd.DataFrame(rows, columns=range(len(names)), dtype=str))
    return Raw(table, names, [None] * len(names), lines, tuple(broken))


def _read_ecsv(path: Path, zipped: bool) -> Raw:
    with _open_text(path, zipped) as file:
        comments = sum(line.startswith("#") for line in file)
    content = Table.read(path, format="ascii.ecsv")
    columns = [content[name] for name in content.colnames]
    # Other columns hold objects, or several numbers per row.
    columns = [column for column in columns if isinstance(column, Column) and column.ndim == 1]
    names = [column.name for column in columns]
    table = content[names].to_pandas().set_axis(range(len(names)), axis=1)
    units: list[str | None] = [str(column.unit or "") for column in columns]
    return Raw(table, names, units, range(comments + 2, comments + 2 + len(table)))


def _read_fits(path: Path, columns_to_read: Collection[str] | None) -> Raw:
    path.stat()  # raises the FileNotFoundError that the caller reports
    with open_fits(path) as fits:
        tables = [hdu for hdu in fits if hdu.get_exttype() in ("BINARY_TBL", "ASCII_TBL")]
        if not tables:
            raise ValueError("no table in it")
        all_names, header = tables[0].get_colnames(), tables[0].read_header()
        chosen = [
            name for name in all_names if columns_to_read is None or name.lower() in columns_to_read
        ]
        data = tables[0].read(columns=chosen) if chosen else np.zeros(0, [(all_names[0], "f8")])
    # Columns with several numbers per row hold no positions.
    names = [name for name in data.dtype.names if data[name].ndim == 1]
    columns = {}
    for number, name in enumerate(names):
        columns[number] = data[name].astype(data[name].dtype.newbyteorder("="))
    units: list[str | None] = [
        str(header.get(f"TUNIT{all_names.index(name) + 1}") or "") for name in names
    ]
    return Raw(pd.DataFrame(columns), names, units, range(1, len(data) + 1))
