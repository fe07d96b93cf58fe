"""Tables as files: CSV, Parquet, FITS; their hash."""

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = [
    "ascii_text",
    "check_output",
    "content_hash",
    "escape_formulas",
    "fits_values",
    "unescape_formulas",
    "write_table",
]

#: Characters that are not an ASCII letter with an accent.
_IN_ASCII = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
    **{"\u00df": "ss", "\u00e6": "ae", "\u00c6": "AE", "\u00f8": "o", "\u00d8": "O", "\u0142": "l"},
    **{"\u0141": "L", "\u0153": "oe", "\u0152": "OE", "\u00d7": "x", "\u00b5": "u", "\u03bc": "u"},
}

#: Formats that can be written.
SUFFIXES = (".csv", ".parquet", ".fits")


def check_output(path: str | os.PathLike[str]) -> None:
    """Make sure, before any work, that `write_table` can write a file.

    Raises
    ------
    LenspipeError
        It has another suffix.
    """
    if Path(path).suffix not in SUFFIXES:
        raise LenspipeError(
            f"{path}: found suffix {Path(path).suffix!r}, expected one of {', '.join(SUFFIXES)}"
        )


def write_table(path: str | os.PathLike[str], table: pd.DataFrame, **csv: Any) -> None:
    """Write a table as CSV, Parquet or FITS, by a suffix that passes `check_output`, without index.

    Arguments `csv` are those of `pandas.DataFrame.to_csv`.
    """
    with atomic(path) as temporary:
        if temporary.suffix == ".csv":
            table.to_csv(temporary, index=False, **csv)
        elif temporary.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            columns = {name: fits_values(table[name]) for name in table}
            # The given name may have characters that stand for something else.
            with open(temporary, "wb") as file:
                Table(columns).write(file, format="fits")


def fits_values(column: pd.Series) -> np.ndarray:
    """Values of a column as FITS can hold them: numbers, or whole ASCII text, empty if missing."""
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        if not column.isna().any() or column.dtype.kind in "fc":
            return column.to_numpy(getattr(column.dtype, "numpy_dtype", column.dtype))
        if column.dtype.kind in "iu":
            missing = column.isna().to_numpy()
            return np.ma.MaskedArray(column.fillna(0).to_numpy(np.int64), missing)
        return column.to_numpy(np.float64, na_value=np.nan)
    texts = [ascii_text(text) for text in column.astype(object).where(column.notna(), "")]
    # FITS has no strings of length 0, not even in a table without rows.
    return np.array(texts) if any(texts) else np.zeros(len(texts), "U1")


def ascii_text(text: object) -> str:
    """Write a text with the characters that FITS has: e for é, - for a dash, else ?."""
    text = str(text)
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", "".join(_IN_ASCII.get(c, c) for c in text))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before texts that a spreadsheet would take for a formula.

    These begin with one of ``= + - @``, a tabulator or a carriage return (OWASP, "CSV injection"),
    or with apostrophes before these. `unescape_formulas` restores them.
    """
    return _replace_in_texts(table, r"\A(?='*[=+\-@\t\r])", "'")


def unescape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Remove the apostrophes that `escape_formulas`, or a user of a spreadsheet, has put there."""
    return _replace_in_texts(table, r"\A'(?='*[=+\-@\t\r])", "")


def _replace_in_texts(table: pd.DataFrame, pattern: str, replacement: str) -> pd.DataFrame:
    table = table.copy()
    for name in table:
        if pd.api.types.is_string_dtype(table[name]):
            table[name] = table[name].str.replace(pattern, replacement, regex=True)
    return table


def content_hash(table: pd.DataFrame) -> str:
    """Hash the names and values of a table of numbers and strings.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256.
    """
    sha = hashlib.sha256()
    for name, values in table.items():
        is_text = not pd.api.types.is_numeric_dtype(values)
        sha.update(f"{name} {'text' if is_text else values.dtype}\n".encode())
        sha.update("\n".join(values).encode() if is_text else values.to_numpy().tobytes())
    return sha.hexdigest()[:16]
