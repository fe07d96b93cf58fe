"""Tables of any format: read from users' files, written for them."""

import hashlib
from pathlib import Path

import pandas as pd
from astropy.table import Table

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["check_output", "content_hash", "read_user_table", "write_user_table"]

#: Kinds of output.
SUFFIXES = (".csv", ".parquet", ".fits")


def read_user_table(path, what):
    """Read a table of numbers and texts.

    Parameters
    ----------
    path : str or path-like
        FITS, ECSV, Parquet or else CSV, by the suffix. Of a FITS table the columns with one value
        a row are read.
    what : str
        What the table should hold, for messages.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    LenspipeError
        No such file, or none that can be read.
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


def check_output(path):
    """Make sure, before any work, that `write_user_table` knows a kind of file.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    LenspipeError
        Its suffix is another.
    """
    if Path(path).suffix not in SUFFIXES:
        raise LenspipeError(
            f"{path}: found suffix {Path(path).suffix!r}, expected one of {', '.join(SUFFIXES)}"
        )


def write_user_table(path, table):
    """Write a table.

    Parameters
    ----------
    path : str or path-like
        With a suffix that `check_output` lets pass.
    table : pandas.DataFrame
    """
    with atomic(path) as temporary:
        if Path(path).suffix == ".csv":
            table.to_csv(temporary, index=False)
        elif Path(path).suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            text = {c: table[c].to_numpy(str) for c in table if table[c].dtype in ("str", "object")}
            Table({name: text.get(name, table[name].to_numpy()) for name in table}).write(temporary)


def content_hash(table):
    """Hash a table's names and values.

    Parameters
    ----------
    table : pandas.DataFrame
        Of numbers and strings.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256.
    """
    sha = hashlib.sha256()
    for name, values in table.items():
        text = not pd.api.types.is_numeric_dtype(values)
        sha.update(f"{name} {'text' if text else values.dtype}\n".encode())
        sha.update("\n".join(values).encode() if text else values.to_numpy().tobytes())
    return sha.hexdigest()[:16]
