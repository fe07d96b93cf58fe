"""Positions in users' tables: the usual names of the columns, units and formats of angles."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from astropy import units as u

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.user_tables import UserTable, normalised, to_numbers

__all__ = [
    "DEC",
    "RA",
    "RANGES",
    "Positions",
    "find_columns",
    "name_and_unit",
    "read_positions",
    "refuse_first",
    "unit_of",
]

#: Names of the columns, in lower case and without the unit; the first one present is used.
RA = (
    *("ra", "ra_j2000", "raj2000", "_raj2000", "_ra", "ra2000", "ra_icrs", "_ra_icrs"),
    *("right_ascension", "alpha", "alpha_j2000", "alphaj2000"),
)
DEC = (
    *("dec", "dec_j2000", "decj2000", "dej2000", "_dej2000", "_de", "dec2000", "de2000"),
    *("dec_icrs", "de_icrs", "_de_icrs", "decl", "declination", "de", "delta"),
    *("delta_j2000", "deltaj2000"),
)

#: Ranges of positions on the sky, degrees.
RANGES = {"ra": (-180, 360), "dec": (-90, 90)}

#: A column's name before its unit: ``ra_hours``, ``radeg``, ``dec_rad``.
_NAME_AND_UNIT = re.compile(
    r"(.+?)_*(?:_(deg|degrees?|h|hr|hours?|rad|radians?|arcmin|arcsec|mas)|(deg))"
)

#: Degrees in a unit of angles; others are astropy's.
_DEGREES_IN = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees", "\u00b0", "decimal degrees"), 1.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourangle"), 15.0),
    **dict.fromkeys(("radian", "radians"), 180 / np.pi),
    **dict.fromkeys(("arcmins", "arcminutes"), 1 / 60),
    **dict.fromkeys(("arcsecs", "arcseconds", '"'), 1 / 3600),
    **dict.fromkeys(("milliarcsec", "milliarcsecs"), 1 / 3_600_000),
}

#: Formats of sexagesimal angles that stand in place of a unit -> degrees in the first number.
_FORMATS = {
    **dict.fromkeys(("h:m:s", "hms", "h m s", "hh:mm:ss", "h, m, s", '"h:m:s"', "sexagesimal"), 15),
    **dict.fromkeys(("d:m:s", "dms", "d m s", "dd:mm:ss", "d, m, s", '"d:m:s"'), 1),
}

#: What brackets after a name may hold in place of a unit.
_NO_UNITS = {"", "j2000", "j2000.0", "2000", "2000.0", "icrs", "fk5", "epoch j2000", "none", "-"}

#: ``12:30:05.1``, ``12 30 05.1``, ``12h30m05.1s``, ``187d31m16s``; the seconds may be missing.
_SEXAGESIMAL = re.compile(
    r"([+-]?)\s*(\d{1,3})(\s*[hd°:]|\s)\s*(\d{1,2}(?:\.\d*)?)"
    r"(?:(?:\s*[m'′:]|\s)\s*(?:(\d{1,2}(?:\.\d*)?)\s*[s\"″]?)?)?"
)

#: Right ascensions of at least so many rows that span more than this could be hours, and are
#: therefore refused.
_MIN_ROWS, _MIN_SPREAD = 3, 6


class Positions(NamedTuple):
    """Positions of a table's rows, float64, degrees; NaN where a cell is no angle.

    Attributes
    ----------
    ra
        As given, not yet 0 to 360.
    dec
    sexagesimal
        Which rows are sexagesimal.
    ra_unit, dec_unit
        Units that were converted to degrees; empty where there was none to convert.
    """

    ra: np.ndarray
    dec: np.ndarray
    sexagesimal: np.ndarray
    ra_unit: str
    dec_unit: str

    @property
    def missing(self) -> np.ndarray:
        """Which rows have no position (bool)."""
        return np.isnan(self.ra) | np.isnan(self.dec)

    @property
    def outside(self) -> np.ndarray:
        """Which rows have a position that is not on the sky (bool)."""
        angles = {"ra": self.ra, "dec": self.dec}
        on_sky = [(angles[k] >= low) & (angles[k] <= high) for k, (low, high) in RANGES.items()]
        return ~self.missing & ~np.logical_and(*on_sky)


def find_columns(table: UserTable, aliases: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Find columns by their usual names.

    Parameters
    ----------
    table
    aliases
        Column -> names in lower case, without units; the first one present is used, and among
        columns of the same name one in degrees.

    Returns
    -------
    dict
        Column -> its number; without those that are absent.

    Raises
    ------
    LenspipeError
        A column occurs twice.
    """
    names = [name_and_unit(name)[0] for name in table.names]
    whole = [normalised(name)[0] for name in table.names]
    numbers = {}
    for column, spellings in aliases.items():
        order = {name: place for place, name in enumerate(spellings)}
        ranks = [
            (order[name], unit_of(table, number) != "deg", number)
            for number, name in enumerate(names)
            if name in order
        ]
        if not ranks:
            continue
        number = numbers[column] = min(ranks)[-1]
        same = [i for i, name in enumerate(whole) if name == whole[number]]
        if len({unit_of(table, i) for i in same}) < len(same):
            raise LenspipeError(
                f"{table.path}: found more than one column {whole[number]}, in upper or lower "
                "case; expected one; rename the others"
            )
    return numbers


def name_and_unit(name: str) -> tuple[str, str]:
    """Return a column's name in lower case without the unit that it ends with, and the unit."""
    base, unit = normalised(name)
    base = base.replace(".", "_")
    match = _NAME_AND_UNIT.fullmatch(base)
    return (match[1], unit or match[2] or match[3]) if match else (base, unit)


def unit_of(table: UserTable, column: int) -> str:
    """Return the unit of a column in lower case, from the table or its name; empty without."""
    unit = (table.units[column] or name_and_unit(table.names[column])[1]).strip().lower()
    unit = unit.strip("[]() ").rstrip(".")
    if unit in _NO_UNITS:
        return ""
    return "deg" if _DEGREES_IN.get(unit) == 1 else "hour" if _DEGREES_IN.get(unit) == 15 else unit


def read_positions(
    table: UserTable,
    columns: Mapping[str, int],
    ra_unit: Literal["deg", "hour"] | None = None,
    remedy: str | None = None,
) -> Positions:
    """Read the positions of a table.

    Right ascensions are in hours where they are sexagesimal or their column has that unit
    (``ra [h]``, ``ra_hours``). Units of both columns are converted to degrees.

    Parameters
    ----------
    table
    columns
        Numbers of the columns ra and dec, as returned by `find_columns`.
    ra_unit
        Unit of plain numbers in ra, overriding degrees or hours of the column.
    remedy
        Right ascensions that may be hours are refused, if this is given: what to do, beside
        renaming the column.

    Raises
    ------
    LenspipeError
        A unit is unknown, or right ascensions may be hours.
    """
    units = {name: unit_of(table, columns[name]) for name in ("ra", "dec")}
    if ra_unit and units["ra"] in ("", "deg", "hour"):
        units["ra"] = ra_unit
    if units["dec"] == "hour":
        raise LenspipeError(
            f"{table.path}: found {table.names[columns['dec']]} in hours, expected degrees; "
            "correct its unit"
        )
    factors = {name: _factor(table, columns[name], unit) for name, unit in units.items()}
    for name, other in (("ra", "dec"), ("dec", "ra")):
        if not units[name] and factors[other] not in (1, 15):
            raise LenspipeError(
                f"{table.path}: found {table.names[columns[other]]} in {units[other]}, "
                f"{table.names[columns[name]]} without a unit, expected units of both; call it "
                f"{name}_deg or {name}_{units[other]}"
            )
    ra_format = _FORMATS.get(units["ra"], 15)
    ra, ra_sexagesimal = _degrees(table.columns[columns["ra"]], factors["ra"], ra_format)
    dec, dec_sexagesimal = _degrees(table.columns[columns["dec"]], factors["dec"], 1)
    if not units["ra"] and remedy is not None:
        _refuse_hours(table.path, ra[~ra_sexagesimal], remedy)
    plain = {"ra": ~(ra_sexagesimal | np.isnan(ra)), "dec": ~(dec_sexagesimal | np.isnan(dec))}
    converted = {
        name: unit if factors[name] != 1 and plain[name].any() else ""
        for name, unit in units.items()
    }
    sexagesimal = ra_sexagesimal | dec_sexagesimal
    return Positions(ra, dec, sexagesimal, converted["ra"], converted["dec"])


def _factor(table: UserTable, column: int, unit: str) -> float:
    """Degrees in a unit; formats of sexagesimal angles and no unit stand for degrees."""
    if not unit or unit in _FORMATS:
        return 1.0
    if unit == "hour":
        return 15.0
    if unit in _DEGREES_IN:
        return _DEGREES_IN[unit]
    try:
        return float(u.Unit(unit).to(u.deg))
    except (ValueError, TypeError):
        raise LenspipeError(
            f"{table.path}: found {table.names[column]} in {unit!r}, expected a unit of angles, "
            "such as deg; correct it"
        ) from None


def _degrees(
    column: pd.Series, factor: float, sexagesimal_factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return angles, NaN where there is none, and which of them were sexagesimal."""
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(na_value=np.nan)
        # The shortest decimal number is what was written: 150.1, not 150.100006.
        values = values.astype(str) if values.dtype.kind == "f" and values.itemsize < 8 else values
        return values.astype(np.float64) * factor, np.zeros(len(column), bool)
    text = column.str.replace(r"^([\u2212\u2013\ufe63\uff0d])(?=[\d. ])", "-", regex=True)
    values = to_numbers(text) * factor
    rest = np.isnan(values)
    angles = [_from_sexagesimal(angle, sexagesimal_factor) for angle in text[rest]]
    values[rest] = angles if factor in (1, 15) else np.nan
    return values, rest & ~np.isnan(values)


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


def _refuse_hours(path: str, ra: np.ndarray, remedy: str) -> None:
    """Refuse right ascensions that may be hours: nobody would notice until the search is over."""
    ra = ra[~np.isnan(ra)]
    if len(ra) < _MIN_ROWS or not ((ra >= 0) & (ra <= 24)).all() or np.ptp(ra) <= _MIN_SPREAD:
        return
    raise LenspipeError(
        f"{path}: found ra between {ra.min():g} and {ra.max():g} without a unit, which may be "
        f"hours; expected a unit; call the column ra_deg or ra_hours{remedy}"
    )


def refuse_first(table: UserTable, positions: Positions, columns: Mapping[str, int]) -> None:
    """Refuse a table for its first row without a position.

    Raises
    ------
    LenspipeError
        There is one.
    """
    table.refuse_broken()
    bad = np.flatnonzero(positions.missing | positions.outside)
    if len(bad):
        ra, dec = (table.text(columns[name])[bad[0]] or "empty" for name in ("ra", "dec"))
        raise LenspipeError(
            f"{table.path}: {table.where(bad[:1])} has ra {ra}, dec {dec}; expected degrees as "
            "decimal numbers, or sexagesimal; correct or delete it"
        )
