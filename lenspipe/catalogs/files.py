"""Files of lists: CSV, TSV, ECSV and FITS, here, at an address or in a package."""

import contextlib
import csv
import gzip
import importlib.util
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
from astropy.table import Column, Table

from lenspipe.retrieval.remote import RemoteSource
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import open_fits

__all__ = ["Raw", "line_numbers", "read_raw"]


@dataclass
class Raw:
    """A list as it stands in its file.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns by number, of any type.
    names, units : list of str
        Of the columns; a unit is None or empty where none is given.
    lines : sequence of int
        Numbers of the rows' lines as a person counts; of a FITS table of the rows, from 1.
    broken : tuple of int
        Lines with more cells than the header; the table lacks them.
    """

    table: pd.DataFrame
    names: list
    units: list
    lines: Sequence
    broken: tuple = ()


def line_numbers(path, lines):
    """Say which lines of a list are meant.

    Parameters
    ----------
    path : str or path-like
        Of the list; a FITS table has rows instead.
    lines : iterable of int

    Returns
    -------
    str
        Such as ``lines 3, 5, 6, 7, 8 and 12 more``.
    """
    lines = list(lines)
    noun = "row" if _suffix(path) in (".fits", ".fit") else "line"
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"{noun}{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:5]))}{more}"


def _suffix(path):
    """Suffix that says what a file is, that of a compressed one included; lower case."""
    return PurePath(str(path).lower().partition("?")[0].removesuffix(".gz")).suffix


def read_raw(path, key, settings=None, needed=None):
    """Read a list as it stands in its file.

    Parameters
    ----------
    path : str
        FITS, ECSV, TSV or else CSV, by the suffix, and ``.gz`` after it; an address of one; or
        ``lenscat``, the table of that package.
    key : str
        Key of the configuration that gives the path, for messages.
    settings : lenspipe.config.settings.Settings, optional
        Needed for an address; the file is kept in the cache.
    needed : collection of str, optional
        Columns of a FITS table that matter, in lower case; the others, which may be many, are not
        read. All if not given.

    Returns
    -------
    Raw

    Raises
    ------
    LenspipeError
        No such file, or none that can be read.
    RetrievalError
        A server didn't give the file.
    """
    kind = {".fits": "FITS", ".fit": "FITS", ".ecsv": "ECSV", ".tsv": "TSV"}
    kind = kind.get(_suffix(path), "CSV")
    zipped = path.lower().partition("?")[0].endswith(".gz")
    try:
        with _local(path, settings) as local:
            if kind == "FITS":
                return _read_fits(local, needed)
            if kind == "ECSV":
                return _read_ecsv(local, zipped)
            return _read_csv(local, zipped, "\t" if kind == "TSV" else ",")
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as {kind} ({reason}); expected columns ra, dec in degrees; "
            f"correct config key {key}"
        ) from error


@contextlib.contextmanager
def _local(path, settings):
    """Give a local file for a path, an address or ``lenscat``."""
    if path == "lenscat":
        yield _lenscat()
    elif is_remote(path) and settings:
        with (
            contextlib.closing(RemoteSource(settings.retrieval, settings.paths.hosts)) as source,
            source.table(path) as local,
        ):
            yield local
    else:
        yield Path(path)


def _lenscat():
    """Find the table in lenscat's folder; importing it would need what only its figures need."""
    package = importlib.util.find_spec("lenscat")
    folders = (package and package.submodule_search_locations) or []
    for path in (Path(folder) / "data" / "catalog.csv" for folder in folders):
        if path.is_file():
            return path
    raise LenspipeError(
        f"lenscat: {'found no data/catalog.csv in it' if package else 'not installed'}; "
        "pip install --no-deps lenscat, or give the address of its CSV"
    )


def _open(path, zipped):
    """Open a text."""
    return (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig", newline="")


def _read_csv(path, zipped, delimiter):
    rows, lines, broken, names = [], [], [], None
    with _open(path, zipped) as file:
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
    table = pd.DataFrame(rows, columns=range(len(names)), dtype=str)
    return Raw(table, names, [None] * len(names), lines, tuple(broken))


def _read_ecsv(path, zipped):
    with _open(path, zipped) as file:
        comments = sum(line.startswith("#") for line in file)
    content = Table.read(path, format="ascii.ecsv")
    columns = [content[name] for name in content.colnames]
    # Others hold objects, or several numbers in a row.
    columns = [column for column in columns if isinstance(column, Column) and column.ndim == 1]
    names = [column.name for column in columns]
    table = content[names].to_pandas().set_axis(range(len(names)), axis=1)
    units = [str(column.unit or "") for column in columns]
    return Raw(table, names, units, range(comments + 2, comments + 2 + len(table)))


def _read_fits(path, needed):
    path.stat()
    with open_fits(path) as fits:
        tables = [hdu for hdu in fits if hdu.get_exttype() in ("BINARY_TBL", "ASCII_TBL")]
        if not tables:
            raise ValueError("no table in it")
        every, header = tables[0].get_colnames(), tables[0].read_header()
        chosen = [name for name in every if needed is None or name.lower() in needed]
        data = tables[0].read(columns=chosen) if chosen else np.zeros(0, [(every[0], "f8")])
    # Columns with several numbers in a row hold no positions.
    names = [name for name in data.dtype.names if data[name].ndim == 1]
    columns = {}
    for number, name in enumerate(names):
        columns[number] = data[name].astype(data[name].dtype.newbyteorder("="))
    units = [str(header.get(f"TUNIT{every.index(name) + 1}") or "") for name in names]
    return Raw(pd.DataFrame(columns), names, units, range(1, len(data) + 1))
