"""IAU-style names of objects on the sky."""

import re
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

__all__ = ["file_names", "iau_name", "is_brick_name", "unique_names"]


_BRICK = re.compile(r"[0-9]{4}[pm][0-9]{3}")


def is_brick_name(name: str) -> bool:
    """Whether a text is the name of a brick, such as 1501p320."""
    return bool(_BRICK.fullmatch(name))


def iau_name(ra: ArrayLike, dec: ArrayLike, prefix: str) -> np.ndarray:
    """Return names from positions, truncated as the IAU asks: ``DESI-011.5084-01.9412``.

    Parameters
    ----------
    ra, dec
        Degrees, shape (N,) or scalar.
    prefix
        Of the survey, such as ``DESI``.

    Returns
    -------
    numpy.ndarray of str, shape (N,)
        A position given with four decimals keeps them, whatever its binary form.

    Examples
    --------
    >>> iau_name(11.50849, -1.94129, "DESI").tolist()
    ['DESI-011.5084-01.9412']
    """
    ra = np.mod(np.atleast_1d(np.asarray(ra, dtype=np.float64)), 360)
    dec = np.atleast_1d(np.asarray(dec, dtype=np.float64))
    ra_units = _truncate(ra) % 3_600_000
    names = [
        f"{prefix}-{r // 10000:03d}.{r % 10000:04d}{sign}{d // 10000:02d}.{d % 10000:04d}"
        for r, sign, d in zip(
            ra_units, np.where(dec < 0, "-", "+"), _truncate(np.abs(dec)), strict=True
        )
    ]
    return np.array(names, dtype=str)


def _truncate(value: np.ndarray) -> np.ndarray:
    """Whole units of 0.0001 in values >= 0.

    ``units / 1e4`` is the double nearest to that decimal, so comparing with it is exact, where
    ``floor(value * 1e4)`` would take 11.5084 for 115083.99...
    """
    units = np.rint(value * 1e4).astype(np.int64)
    return units - (units / 1e4 > value)


def file_names(names: Iterable[object], taken: Collection[str] = ()) -> list[str]:
    """Make file names from names in a table, which may contain any characters.

    They consist of letters, digits and ``+-.``, do not begin with a dot, and are unique even on
    case-insensitive file systems, also beside those that are taken.
    """
    used, files = set(taken), []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9+.-]", "-", str(name)).lstrip(".-")[:100] or "candidate"
        file, number = plain, 1
        while file.lower() in used:
            number += 1
            file = f"{plain}-{number}"
        used.add(file.lower())
        files.append(file)
    return files


def unique_names(names: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Distinguish sources with the same name by letters: a, b, ... in the order of ra, then dec.

    The IAU's rules ask for such a letter where two sources share a position's digits
    (https://cdsweb.u-strasbg.fr/Dic/iau-spec.html). The order is that of positions, so that a name
    does not depend on scores.

    Parameters
    ----------
    names
        Strings, shape (N,).
    ra, dec
        Degrees, shape (N,).

    Returns
    -------
    numpy.ndarray of str, shape (N,)
        Names of single sources are unchanged.
    """
    table = pd.DataFrame({"name": np.asarray(names, str), "ra": ra, "dec": dec})
    table["number"] = table.sort_values(["ra", "dec"], kind="stable").groupby("name").cumcount()
    shared = table["name"].duplicated(keep=False)
    table["name"] = table["name"].astype(object)
    table.loc[shared, "name"] += table.loc[shared, "number"].map(_letters)
    return table["name"].to_numpy(dtype=str)


def _letters(number: int) -> str:
    """Letters that count from a: a ... z, aa, ab ..."""
    letters = ""
    number += 1
    while number:
        number, last = divmod(number - 1, 26)
        letters = chr(ord("a") + last) + letters
    return letters
