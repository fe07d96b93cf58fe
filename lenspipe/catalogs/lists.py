"""Lists of positions, as people publish and write them, and how positions are matched."""

import re

import numpy as np
import pandas as pd

from lenspipe.catalogs.files import line_numbers, read_raw
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["read_list"]

#: What a column is called, in lower case and without its unit; the first that is there is taken.
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

#: Least number and spread of right ascensions that could be hours and are therefore refused.
_FEWEST, _SPREAD = 3, 6


def read_list(
    path,
    key="sample.confusing",
    settings=None,
    columns=("ra", "dec"),
    ra_unit=None,
    strict=False,
):
    """Read a list of positions, whatever its columns are called and its angles written in.

    What is converted or left out is said in the log, in a line for each kind of problem.

    Parameters
    ----------
    path : str or path-like
        FITS, ECSV, TSV or else CSV, by the suffix, and ``.gz`` after it; an address of one; or
        ``lenscat``, the table of that package. Columns in any case: ra, dec, and if there are any
        name, kind (for lenscat's table its type), grade and ref, each also under its usual other
        names. Right ascensions are in hours where they are sexagesimal or their column has that
        unit (``ra [h]``, ``ra_hours``).
    key : str
        Key of the configuration that gives the path, for messages.
    settings : lenspipe.config.settings.Settings, optional
        Needed for an address; the file is kept in the cache.
    columns : sequence of str
        Which of the columns must be there.
    ra_unit : {'deg', 'hour'}, optional
        Unit of plain numbers in ra, whatever the column says.
    strict : bool
        Whether a row without a position is an error instead of being left out.

    Returns
    -------
    pandas.DataFrame
        Columns ra (0 to 360), dec (float64, degrees); name, kind, grade, ref (str, without spaces
        around, empty where not given); line (int64; in the file, as a person counts; of a FITS
        table the row, from 1).

    Raises
    ------
    LenspipeError
        No such file, none that can be read, no such columns, right ascensions that may be hours,
        or, if strict, values that are no positions.
    RetrievalError
        A server didn't give the file.
    """
    raw = read_raw(str(path), key, settings)
    found = _find_columns(path, raw, columns)
    texts = {
        name: _text(raw.table[found[name]]) if name in found else pd.Series("", raw.table.index)
        for name in _ALIASES
    }
    unit = ra_unit or _unit(raw.units[found["ra"]])
    ra, sexagesimal = _degrees(texts["ra"], 15 if unit == "hour" else 1, 15)
    dec, also = _degrees(texts["dec"], 1, 1)
    lines = pd.Series(raw.lines, raw.table.index, "int64")
    if unit == "hour" and not (sexagesimal | ra.isna()).all():
        log.info("%s: ra in hours, converted to degrees", path)
    if unit is None:
        _refuse_hours(path, key, ra[~sexagesimal])
    if (rows := sexagesimal | also).any():
        log.info(
            "%s: %d rows with sexagesimal positions (ra in hours), converted to degrees: %s",
            path, rows.sum(), line_numbers(path, lines[rows]),
        )  # fmt: skip
    unreadable = ra.isna() | dec.isna()
    outside = ~unreadable & ~(ra.between(-180, 360) & dec.between(-90, 90))
    if strict:
        _refuse(path, raw.broken, lines, texts, unreadable | outside)
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


def _find_columns(path, raw, needed):
    """Return which column holds what, and note the units that names end with."""
    lower = [name.strip().lower() for name in raw.names]
    bases = []
    for number, name in enumerate(lower):
        match = _NAME_AND_UNIT.fullmatch(re.sub(r"[\s-]+", "_", name))
        bases.append(match[1] if match else name)
        if match:
            raw.units[number] = raw.units[number] or next(filter(None, match.groups()[1:]), "")
    aliases = _ALIASES
    if "zlens" in lower:
        # Elsewhere type is what a galaxy was fitted with.
        aliases = aliases | {"kind": ("kind", "type")}
    found = {}
    for wanted, spellings in aliases.items():
        ranks = [
            (spellings.index(base), _unit(raw.units[number]) != "deg", number)
            for number, base in enumerate(bases)
            if base in spellings
        ]
        if ranks:
            found[wanted] = min(ranks)[-1]
            if lower.count(lower[found[wanted]]) > 1:
                raise LenspipeError(
                    f"{path}: found more than one column {lower[found[wanted]]}, in upper or lower "
                    "case; expected one; rename the others"
                )
    if missing := [name for name in needed if name not in found]:
        raise LenspipeError(
            f"{path}: found columns {', '.join(raw.names)}; expected {', '.join(needed)}, "
            f"positions in degrees; name the missing {' and '.join(missing)}"
        )
    return found


def _unit(text):
    """A unit of right ascension as the settings have it; None for any other."""
    text = (text or "").strip().lower()
    return "deg" if text in _DEGREES else "hour" if text in _HOURS else None


def _text(column):
    """Values of any type as strings without spaces around; empty where there is nothing."""
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def _degrees(text, factor, sexagesimal_factor):
    """Read angles; NaN where there is none. Also return which were sexagesimal."""
    # Typesetters have a minus of their own.
    text = text.str.replace("\u2212", "-")
    value = pd.to_numeric(text, errors="coerce").astype("float64") * factor
    rest = value.isna()
    value[rest] = [_from_sexagesimal(angle, sexagesimal_factor) for angle in text[rest]]
    return value, rest & value.notna()


def _from_sexagesimal(text, factor):
    """Read an angle; NaN if it is none. Letters say the unit, or else the factor to degrees."""
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


def _refuse_hours(path, key, ra):
    """Refuse right ascensions that may be hours: nobody would notice before the search is over."""
    ra = ra.dropna()
    if len(ra) < _FEWEST or not ra.between(0, 24).all() or ra.max() - ra.min() <= _SPREAD:
        return
    catalogue = key in ("sample.known_lenses", "recovery.catalogs")
    remedy = ", or give it ra_unit: deg or hour" if catalogue else ""
    raise LenspipeError(
        f"{path}: found ra between {ra.min():g} and {ra.max():g} without a unit, which may be "
        f"hours; expected a unit; call the column ra_deg or ra_hours{remedy} (config key {key})"
    )


def _refuse(path, broken, lines, texts, bad):
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
