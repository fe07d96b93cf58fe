"""Tables with the units and descriptions of the schema, and FITS files that keep them.

FITS has no place for the description of a column. `astropy.table.Table.read` finds it in the
comments in which astropy's own writer leaves it; other programs read the keyword TCOMM
(fv, STIL), and TUCD for UCDs.
"""

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Column, Table

from lenspipe.products import schema
from lenspipe.utils.files import atomic
from lenspipe.utils.tables import fits_values, write_table

__all__ = ["describe", "described_hdu", "write_described", "write_with_units"]


def describe(
    table: pd.DataFrame, columns: Iterable[schema.Column], meta: Mapping[str, Any] | None = None
) -> Table:
    """Make a table with units and descriptions; UCDs are in the ``meta`` of the columns.

    Parameters
    ----------
    columns
        Those of the schema, without placeholders; a column that is not among them has neither unit
        nor description.
    meta
        Of the whole table: keywords of its header.
    """
    result = Table(meta=dict(meta or {}))
    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype == object or table[name].dtype in ("str", "string", "category"):
            texts = table[name].astype(object).where(table[name].notna(), "")
            # FITS has no strings of length 0, not even in a table without rows.
            values = texts.to_numpy().astype(str) if len(values) else np.zeros(0, "U1")
        result[name] = values
    _add_descriptions(result, columns)
    return result


def _add_descriptions(table: Table, columns: Iterable[schema.Column]) -> None:
    """Add unit, description and UCD to the columns of a table that are known."""
    known = {column.name: column for column in columns}
    for name in table.colnames:
        if column := known.get(name):
            table[name].unit = column.unit or None
            table[name].description = column.description
            if column.ucd:
                table[name].meta["ucd"] = column.ucd


def described_hdu(table: Table, name: str = "") -> fits.BinTableHDU:
    """Convert a table to FITS with its descriptions; texts become ASCII, positions are ICRS.

    Parameters
    ----------
    name
        Of the extension, in place of EXTNAME in the table's ``meta``.
    """
    content = table.copy()
    for column in content.colnames:
        if content[column].dtype.kind == "U":
            given = content[column]
            texts = fits_values(pd.Series(given.tolist(), dtype=str))
            content[column] = Column(texts, description=given.description, meta=given.meta)
    if name:
        content.meta["EXTNAME"] = name
    buffer = io.BytesIO()
    content.write(buffer, format="fits")
    buffer.seek(0)
    with fits.open(buffer, memmap=False) as hdus:
        hdu = hdus[1].copy()
    if {"ra", "dec"} <= {column.lower() for column in content.colnames}:
        hdu.header["RADESYS"] = ("ICRS", "Reference frame of the positions")
    for i, column in enumerate(content.colnames, 1):
        if text := content[column].description:
            hdu.header[f"TCOMM{i}"] = text
        if ucd := content[column].meta.get("ucd"):
            hdu.header[f"TUCD{i}"] = ucd
    return hdu


def write_with_units(
    path: str | os.PathLike[str], table: pd.DataFrame, columns: Iterable[schema.Column]
) -> None:
    """Write a table as CSV, Parquet or FITS by its suffix; FITS with units and descriptions.

    Columns are as in `describe`.
    """
    if Path(path).suffix == ".fits":
        content = Table({name: fits_values(table[name]) for name in table})
        _add_descriptions(content, columns)
        write_described(path, content)
    else:
        write_table(path, table)


def write_described(path: str | os.PathLike[str], table: Table) -> None:
    """Write a table as FITS, as `described_hdu` converts it; equal tables give equal bytes."""
    with atomic(path) as temporary:
        described_hdu(table).writeto(temporary)
