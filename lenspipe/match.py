"""Lists of positions that the galaxies of a search are matched with."""

import pandas as pd

from lenspipe.errors import LenspipeError

__all__ = ["read_list"]


def read_list(path):
    """Read a list of positions.

    Parameters
    ----------
    path : str or path-like
        CSV with columns ra, dec in degrees (upper or lower case) and, if it has one, kind.

    Returns
    -------
    pandas.DataFrame
        Columns ra, dec (float64) and kind (str, empty where not given).

    Raises
    ------
    LenspipeError
        No such file, not a CSV, no such columns, or values that are no positions.
    """
    try:
        table = pd.read_csv(path).rename(columns=str.lower)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as CSV ({reason}); expected columns ra, dec in degrees; "
            "correct sample.known_lenses or sample.confusing"
        ) from error
    if missing := {"ra", "dec"} - set(table.columns):
        raise LenspipeError(
            f"{path}: found columns {', '.join(table.columns)}; expected ra, dec in degrees; "
            f"name the missing {' and '.join(sorted(missing))}"
        )
    position = table[["ra", "dec"]].apply(pd.to_numeric, errors="coerce")
    bad = ~(position["ra"].between(-180, 360) & position["dec"].between(-90, 90))
    if bad.any():
        row = table[bad].iloc[0]
        raise LenspipeError(
            f"{path}: line {bad.idxmax() + 2} has ra {row['ra']}, dec {row['dec']}; expected "
            "degrees, as decimal numbers; correct or delete it"
        )
    kind = table["kind"].astype(str).str.strip() if "kind" in table else ""
    return position.astype("float64").assign(kind=kind)
