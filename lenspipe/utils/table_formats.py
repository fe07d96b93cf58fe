"""Tables in the formats that users give, as columns of arrays: FITS, Parquet, ECSV, VOTable."""

import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import parse
from astropy.io.votable.tree import VOTableFile
from astropy.table import Column, Table

from lenspipe.utils.progress import log
from lenspipe.utils.texts import decode_text

__all__ = [
    "RawTable",
    "Wanted",
    "flat",
    "line_numbers",
    "read_ecsv",
    "read_fits",
    "read_parquet",
    "read_votable",
    "write_votable",
]

#: Which columns to read, by name; all if None.
Wanted = Callable[[str], bool] | None

#: Rows of a FITS table that are read at a time, so that a wide one is read once.
_ROWS_AT_ONCE = 500_000


@dataclass
class RawTable:
    """The columns of a file.

    Attributes
    ----------
    columns
        Name, unit and values of each, masked where missing. Values are None, or an array of several
        dimensions or of objects, where a row has several.
    lines
        Numbers of the rows in the file, from 1.
    noun
        What these numbers count: line or row.
    """

    columns: list[tuple[str, str, Any]]
    lines: Sequence[int]
    noun: str = "row"


def line_numbers(noun: str, lines: Iterable[int]) -> str:
    """Describe lines or rows by their numbers: ``lines 3, 5, 6, 7, 8 and 12 more``."""
    lines = list(lines)
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"{noun}{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:5]))}{more}"


def flat(values: np.ndarray) -> np.ndarray:
    """Return values without a second axis of length 1, as IDL writes them."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def read_fits(source: Path | bytes, wanted: Wanted) -> RawTable:
    """Read the first table of a FITS file, given by its path or its content."""
    # An open file, since names may have characters that stand for something else.
    with (
        io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file,
        fits.open(file, character_as_bytes=True) as hdus,
    ):
        hdu = next((h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)), None)
        if hdu is None:
            raise ValueError("no table in it")
        if hdu.header.get("ZTABLE"):
            raise ValueError("its table is compressed; decompress it with funpack")
        number = hdu.header["NAXIS2"]
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        end = hdu.fileinfo()["datLoc"] + hdu.header["NAXIS1"] * number
        if size < end:
            raise ValueError(f"truncated: found {size} bytes, expected at least {end}")
        columns = {
            i: column
            for i, column in enumerate(hdu.columns)
            if wanted is None or wanted(str(column.name))
        }
        values = _fits_values(hdu, columns)
    described = [(c.name, c.unit or "", values.get(i)) for i, c in columns.items()]
    return RawTable(described, range(1, number + 1))


def _fits_values(hdu: fits.BinTableHDU, numbers: Collection[int]) -> dict[int, np.ndarray]:
    """Values of columns of a FITS table, masked where missing; without those of several per row."""
    parts: dict[int, list[np.ndarray]] = {}
    rows = hdu.header["NAXIS2"]
    for start in range(0, max(rows, 1), _ROWS_AT_ONCE):
        block = hdu.data[start : start + _ROWS_AT_ONCE]
        for number in numbers:
            values = flat(np.asarray(block.field(number)))
            if values.ndim == 1 and values.dtype.kind not in "Oc":
                parts.setdefault(number, []).append(np.array(values))
    result = {}
    for number, blocks in parts.items():
        column, values = hdu.columns[number], np.concatenate(blocks)
        if column.null not in (None, "") and values.dtype.kind in "iuf":
            scale, zero = column.bscale or 1, column.bzero or 0
            missing = np.isclose(values, float(column.null) * scale + zero, rtol=1e-12, atol=0)
            values = np.ma.MaskedArray(values, missing)
        result[number] = values
    return result


def read_parquet(source: Path | bytes, wanted: Wanted) -> RawTable:
    """Read a Parquet file, given by its path or its content."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        file = pq.ParquetFile(stream)
        titles = file.schema_arrow.names
        chosen = [t for t in titles if wanted is None or wanted(t)]
        # The index of a table of pandas is a column like any other.
        content = file.read(columns=chosen, use_pandas_metadata=False)
    columns = [
        (field.name, _unit_of_field(field), _parquet_values(content.column(i)))
        for i, field in enumerate(content.schema)
    ]
    return RawTable(columns, range(1, content.num_rows + 1))


def _unit_of_field(field: pa.Field) -> str:
    return (field.metadata or {}).get(b"unit", b"").decode("utf-8", "replace")


def _parquet_values(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.combine_chunks().dictionary_decode()
    if pa.types.is_integer(column.type) and column.null_count:
        mask = column.is_null().to_numpy()
        return np.ma.MaskedArray(column.fill_null(0).to_numpy(), mask)
    return column.to_pandas().to_numpy()


def read_ecsv(content: bytes, name: str) -> RawTable:
    """Read the content of an ECSV file; `name` is that of the file, for the log."""
    text, _ = decode_text(content)
    text = "\n".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")).lstrip("\ufeff")
    lines = text.split("\n")
    comments = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    if skipped := [i + 1 for i in range(comments, len(lines)) if lines[i].startswith("#")]:
        log.info(
            "%s: %d lines left out, beginning with #: %s",
            name, len(skipped), line_numbers("line", skipped),
        )  # fmt: skip
    table = Table.read(f"{text}\n", format="ascii.ecsv")
    columns = [
        (title, table[title].info.unit, _ecsv_values(table, title)) for title in table.colnames
    ]
    return RawTable(columns, range(comments + 2, comments + 2 + len(table)), "line")


def _ecsv_values(table: Table, title: str) -> np.ndarray:
    column = table[title]
    # Others, such as positions, are objects with several values per row.
    values = column if isinstance(column, Column) else getattr(column, "value", None)
    return np.zeros((len(table), 0)) if values is None else np.ma.MaskedArray(values)


def write_votable(votable: VOTableFile, file: BinaryIO, **options: Any) -> None:
    """Write a VOTable, `options` as for its method ``to_xml``.

    By astropy's writer in Python: that in C can write beyond its buffer (astropy issue 20419, seen
    with version 8.0), and the process may crash at any later time.
    """
    votable.to_xml(file, _debug_python_based_parser=True, **options)


def read_votable(content: bytes, name: str) -> RawTable:
    """Read the first table of a VOTable; `name` is that of the file, for the log."""
    votable = parse(io.BytesIO(content), verify="ignore")
    statuses = {
        str(info.value).upper(): str(info.content or "")
        for resource in votable.resources
        for info in resource.infos
        if info.name == "QUERY_STATUS"
    }
    if "ERROR" in statuses:
        raise ValueError(f"the service answered with an error: {statuses['ERROR']}")
    if "OVERFLOW" in statuses:
        log.info("%s: incomplete, since the service left out further rows (OVERFLOW)", name)
    table = votable.get_first_table()
    columns = [
        (field.name or field.ID, str(field.unit or ""), table.array[field.ID])
        for field in table.fields
    ]
    return RawTable(columns, range(1, len(table.array) + 1))
