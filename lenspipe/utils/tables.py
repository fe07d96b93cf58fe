"""Tables of any format: reading users' files, writing files."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pandas as pd
from astropy.table import Table

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = [
    "check_output",
    "content_hash",
    "escape_formulas",
    "read_user_table",
    "unescape_formulas",
    "write_table",
]

#: Formats that can be written.
SUFFIXES = (".csv", ".parquet", ".fits")


def read_user_table(path: str | os.PathLike[str], what: str) -> pd.DataFrame:
    """Read a user's table of numbers and texts.

    Parameters
    ----------
    path
        FITS, ECSV, Parquet or else CSV, by the suffix. Of a FITS table the columns with one value
        per row are read.
    what
        What the table should hold, for messages.

    Raises
    ------
    LenspipeError
        There is no such file, or it can't be read.
    """
    suffix = Path(str(path).lower().removesuffix(".gz")).suffix
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        if suffix in (".fits", ".fit", ".ecsv"):
            table = Table.read(path, format="ascii.ecsv" if suffix == ".ecsv" else "fits")
            return table[[name for name in table.colnames if table[name].ndim == 1]].to_pandas()
        return pd.read_csv(path)
    except (OSError, ValueError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as a table ({reason}); expected {what} as FITS, ECSV, CSV or "
            "Parquet"
        ) from None


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
            text = {c: table[c].to_numpy(str) for c in table if table[c].dtype in ("str", "object")}
            Table({name: text.get(name, table[name].to_numpy()) for name in table}).write(temporary)


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
