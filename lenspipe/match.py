"""Lists of positions: what the galaxies of a search are matched with, or what is looked at."""

import pandas as pd

from lenspipe.errors import LenspipeError

__all__ = ["read_list"]


def read_list(path, key="sample.known_lenses or sample.confusing", name=False):
    """Read a list of positions.

    Parameters
    ----------
    path : str or path-like
        CSV with columns ra, dec in degrees (upper or lower case) and, if it has them, kind and
        name; others are ignored.
    key : str
        Key of the configuration that gives the path, for messages.
    name : bool
        Whether to return the column name.

    Returns
    -------
    pandas.DataFrame
        Columns ra, dec (float64), kind and, if asked for, name (str, without spaces around,
        empty where not given).

    Raises
    ------
    LenspipeError
        No such file, not a CSV, no such columns, or values that are no positions.
    """
    try:
        # A name is the text that stands there: 007 is not 7, and NA is a name.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as CSV ({reason}); expected columns ra, dec in degrees; "
            f"correct config key {key}"
        ) from error
    table = table.rename(columns=lambda column: column.strip().lower())
    if missing := {"ra", "dec"} - set(table.columns):
        raise LenspipeError(
            f"{path}: found columns {', '.join(table.columns)}; expected ra, dec in degrees; "
            f"name the missing {' and '.join(sorted(missing))}"
        )
    if twice := [c for c in ("ra", "dec", "name") if (table.columns == c).sum() > 1]:
        raise LenspipeError(
            f"{path}: found more than one column {twice[0]}, in upper or lower case; expected one; "
            "rename the others"
        )
    position = table[["ra", "dec"]].apply(pd.to_numeric, errors="coerce")
    bad = ~(position["ra"].between(-180, 360) & position["dec"].between(-90, 90))
    if bad.any():
        row = table[bad].iloc[0]
        raise LenspipeError(
            f"{path}: line {bad.idxmax() + 2} has ra {row['ra'] or 'empty'}, dec "
            f"{row['dec'] or 'empty'}; expected degrees, as decimal numbers; correct or delete it"
        )
    texts = {"kind": _text(table, "kind")} | ({"name": _text(table, "name")} if name else {})
    return position.astype("float64").assign(**texts)


def _text(table, column):
    """Return a column as stripped strings; empty where there is nothing."""
    return table[column].fillna("").str.strip() if column in table else ""
