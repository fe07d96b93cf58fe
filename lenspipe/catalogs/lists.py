"""Lists of positions with any of the usual names of columns and formats of angles."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lenspipe.catalogs.files import Raw, line_numbers, read_raw
from lenspipe.config.data import Retrieval
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["read_list"]

#: Names of a column, in lower case and without the unit; the first one present is used.
_ALIASES = {
    "ra": (
        *("ra", "ra_j2000", "raj2000", "_raj2000", "_ra", "ra2000", "ra_icrs", "_ra_icrs"),
        *("right_ascension", "alpha", "alpha_j2000", "alphaj2000"),
    ),
    "dec": (
        *("dec", "dec_j2000", "decj2000", "dej2000", "_dej2000", "_de", "dec2000", "de2000"),
        *("dec_icrs", "de_icrs", "_de_icrs", "decl", "declination", "de", "delta"),
        *("delta_j2000", "deltaj2000"),
    ),
    "name": ("name",),
    "kind": ("kind",),
    "grade": ("grade", "grading"),
    "ref": ("ref", "reference", "references"),
}

#: A column's name before its unit: ``ra [deg]``, ``RA (h)``, ``ra_hours``, ``radeg``.
_NAME_AND_UNIT = re.compile(r"(.+?)_*(?:[\[(](.*)[\])]|_(deg|degrees?|h|hr|hours?)|(deg))")

_DEGREES = {"deg", "degree", "degrees"}

_HOURS = {"h", "hr", "hour", "hours", "hourangle"}

#: ``12:30:05.1``, ``12 30 05.1``, ``12h30m05.1s``, ``187d31m16s``; the seconds may be missing.
_SEXAGESIMAL = re.compile(
    r"([+-]?)\s*(\d{1,3})(\s*[hd°:]|\s)\s*(\d{1,2}(?:\.\d*)?)"
    r"(?:(?:\s*[m'′:]|\s)\s*(?:(\d{1,2}(?:\.\d*)?)\s*[s\"″]?)?)?"
)

#: Right ascensions of at least so many rows that span more than this could be hours, and are
#: therefore refused.
_MIN_ROWS, _MIN_SPREAD = 3, 6


def read_list(
    path: str | os.PathLike[str],
    key: str = "sample.confusing",
    retrieval: Retrieval | None = None,
    hosts: Path | None = None,
    columns: Sequence[str] = ("ra", "dec"),
    ra_unit: Literal["deg", "hour"] | None = None,
    strict: bool = False,
) -> pd.DataFrame:
    """Read a list of positions.

    Rows that are converted or left out are reported in the log, in a line for each type of problem.

    Parameters
    ----------
    path
        As in `lenspipe.catalogs.files.read_raw`. Columns in any case: ra, dec, and optionally name,
        kind (in lenscat's table: type), grade and ref, each also under its other usual names.
        Right ascensions are in hours where they are sexagesimal or their column has that unit
        (``ra [h]``, ``ra_hours``).
    key, retrieval, hosts
        As in `lenspipe.catalogs.files.read_raw`.
    columns
        Required columns.
    ra_unit
        Unit of plain numbers in ra, overriding that of the column.
    strict
        Whether a row without a position is an error instead of being left out.

    Returns
    -------
    pandas.DataFrame
        Columns ra (0 to 360), dec (float64, degrees); name, kind, grade, ref (str, stripped, empty
        where not given); line (int64; line number in the file, of a FITS table the row, from 1).

    Raises
    ------
    LenspipeError
        The file is missing or can't be read, columns are missing, right ascensions may be hours,
        or, if strict, a row has no position.
    RetrievalError
        A server did not deliver the file.
    """
    raw = read_raw(str(path), key, retrieval, hosts)
    place = _find_columns(path, raw, columns)
    texts = {
        name: _text(raw.table[place[name]]) if name in place else pd.Series("", raw.table.index)
        for name in _ALIASES
    }
    unit = ra_unit or _unit(raw.units[place["ra"]])
    ra, ra_sexagesimal = _degrees(texts["ra"], 15 if unit == "hour" else 1, 15)
    dec, dec_sexagesimal = _degrees(texts["dec"], 1, 1)
    lines = pd.Series(raw.lines, raw.table.index, "int64")
    if unit == "hour" and not (ra_sexagesimal | ra.isna()).all():
        log.info("%s: ra in hours, converted to degrees", path)
    if unit is None:
        _refuse_hours(path, key, ra[~ra_sexagesimal])
    if (rows := ra_sexagesimal | dec_sexagesimal).any():
        log.info(
            "%s: %d rows with sexagesimal positions (ra in hours), converted to degrees: %s",
            path, rows.sum(), line_numbers(path, lines[rows]),
        )  # fmt: skip
    unreadable = ra.isna() | dec.isna()
    outside = ~unreadable & ~(ra.between(-180, 360) & dec.between(-90, 90))
    if strict:
        _refuse_first(path, raw.broken, lines, texts, unreadable | outside)
    for bad, problem in (
        (raw.broken, "more cells than the header has"),
        (lines[unreadable], "no position in degrees or sexagesimal"),
        (lines[outside], "ra not in -180 to 360 or dec not in -90 to 90"),
    ):
        if len(bad):
            log.info(
                "%s: %d rows left out, %s: %s", path, len(bad), problem, line_numbers(path, bad)
            )
    texts |= {"ra": np.mod(ra, 360), "dec": dec, "line": lines}
    return pd.DataFrame(texts)[~(unreadable | outside)].reset_index(drop=True)


def _find_columns(path: str | os.PathLike[str], raw: Raw, needed: Sequence[str]) -> dict[str, int]:
    """Return the number of each column; set units that names end with."""
    lower = [name.strip().lower() for name in raw.names]
    bases = []
    for number, name in enumerate(lower):
        match = _NAME_AND_UNIT.fullmatch(re.sub(r"[\s-]+", "_", name))
        bases.append(match[1] if match else name)
        if match:
            raw.units[number] = raw.units[number] or next(filter(None, match.groups()[1:]), "")
    aliases = _ALIASES
    if "zlens" in lower:
        # In other tables `type` is the type of the model fitted to a galaxy.
        aliases = aliases | {"kind": ("kind", "type")}
    numbers: dict[str, int] = {}
    for column, spellings in aliases.items():
        ranks = [
            (spellings.index(base), _unit(raw.units[number]) != "deg", number)
            for number, base in enumerate(bases)
            if base in spellings
        ]
        if ranks:
            numbers[column] = min(ranks)[-1]
            name = lower[numbers[column]]
            if lower.count(name) > 1:
                raise LenspipeError(
                    f"{path}: found more than one column {name}, in upper or lower case; expected "
                    "one; rename the others"
                )
    if missing := [name for name in needed if name not in numbers]:
        raise LenspipeError(
            f"{path}: found columns {', '.join(raw.names)}; expected {', '.join(needed)}, "
            f"positions in degrees; name the missing {' and '.join(missing)}"
        )
    return numbers


def _unit(text: str | None) -> Literal["deg", "hour"] | None:
    text = (text or "").strip().lower()
    return "deg" if text in _DEGREES else "hour" if text in _HOURS else None


def _text(column: pd.Series) -> pd.Series:
    """Values of any type as stripped strings, empty where missing."""
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def _degrees(
    text: pd.Series, factor: float, sexagesimal_factor: float
) -> tuple[pd.Series, pd.Series]:
    """Return angles, NaN where there is none, and which of them were sexagesimal."""
    # Published tables may have the typographic minus sign.
    text = text.str.replace("\u2212", "-")
    value = pd.to_numeric(text, errors="coerce").astype("float64") * factor
    rest = value.isna()
    value[rest] = [_from_sexagesimal(angle, sexagesimal_factor) for angle in text[rest]]
    return value, rest & value.notna()


def _from_sexagesimal(text: str, factor: float) -> float:
    """Return an angle in degrees, NaN if it is none; `factor` converts it unless it has a unit."""
    match = _SEXAGESIMAL.fullmatch(text)
    if not match:
        return np.nan
    sign, whole, unit, minutes, seconds = match.groups()
    minutes, seconds = float(minutes), float(seconds or 0)
    # Rounded seconds may be 60.
    if minutes >= 60 or seconds > 60:
        return np.nan
    angle = int(whole) + minutes / 60 + seconds / 3600
    return float(f"{sign}1") * angle * {"h": 15, "d": 1, "°": 1}.get(unit.strip(), factor)


def _refuse_hours(path: str | os.PathLike[str], key: str, ra: pd.Series) -> None:
    """Refuse right ascensions that may be hours: nobody would notice until the search is over."""
    ra = ra.dropna()
    if len(ra) < _MIN_ROWS or not ra.between(0, 24).all() or ra.max() - ra.min() <= _MIN_SPREAD:
        return
    catalogue = key in ("sample.known_lenses", "recovery.catalogs")
    remedy = ", or give it ra_unit: deg or hour" if catalogue else ""
    raise LenspipeError(
        f"{path}: found ra between {ra.min():g} and {ra.max():g} without a unit, which may be "
        f"hours; expected a unit; call the column ra_deg or ra_hours{remedy} (config key {key})"
    )


def _refuse_first(
    path: str | os.PathLike[str],
    broken: Sequence[int],
    lines: pd.Series,
    texts: Mapping[str, pd.Series],
    bad: pd.Series,
) -> None:
    """Refuse a list for its first row without a position."""
    if broken:
        raise LenspipeError(
            f"{path}: {line_numbers(path, broken)}: more cells than the header has; put text that "
            "holds the delimiter in quotation marks"
        )
    if bad.any():
        row = bad.idxmax()
        ra, dec = (texts[name][row] or "empty" for name in ("ra", "dec"))
        raise LenspipeError(
            f"{path}: {line_numbers(path, [lines[row]])} has ra {ra}, dec {dec}; expected degrees "
            "as decimal numbers, or sexagesimal; correct or delete it"
        )
