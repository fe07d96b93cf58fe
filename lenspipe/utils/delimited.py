"""Tables as text: any usual encoding, delimiter and header, with the line of each row.

What spreadsheets, TOPCAT, VizieR, pandas and people write: commas, semicolons (then usually with
decimal commas), tabs, vertical bars or blanks between the cells; lines before the header; a
commented header; lines with the units below it; a delimiter too many at the ends of the lines.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from astropy import units as u

__all__ = ["NO_NUMBER", "TextTable", "read_delimited"]

#: In the order in which they are preferred; blanks only where there is no other.
_DELIMITERS = (",", ";", "\t", "|")

_BLANKS = " "

#: A character that occurs in no table.
_NONE = "\x1f"

#: Cells between blanks: quoted, or a word; in a header with the unit that may follow in brackets.
_WORD = re.compile(r"\"([^\"]*)\"|(\S+)")
_NAME = re.compile(r"\"([^\"]*)\"|(\S+(?:\s+[\[(][^\])]*[\])])?)")

#: Lines that decide on the delimiter.
_N_SAMPLE = 100

#: Maximum number of lines of a header.
_N_JOINED = 20

#: The end of a line within a quoted cell.
_OPEN_QUOTE = re.compile(r"^(?:[^\"]*\"[^\"]*\")*(?:[^\"]*[,;\t|])?\s*\"[^\"]*$")

#: Units of angles, and formats in their place, that astropy does not know.
_ANGLES = frozenset(("degree", "degrees", "radians", "h", "hour", "hours", "h:m:s", "d:m:s", "hms"))

#: Names of columns by which a header is recognised in a comment.
_USUAL = frozenset(("name", "id", "brick", "brickname", "ra", "dec", "grade"))

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

#: A number or an angle, perhaps with a decimal comma.
_DECIMAL_COMMA = re.compile(r"(?:[+\-\u2212]?\d[\dhdms:°'\"′″ +\-]*)?,?\d*(?:[eE][+-]?\d+)?[s\"″]?")

#: The lines of a box around a table: ``+------+----+``.
_RULE = re.compile(r"\s*\+[-=+]{3,}\s*")

#: Characters that nobody sees and that are no part of a table, as editors and web pages leave them;
#: the last one ended files of DOS.
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\x1a"))

#: Cells that say that a number is missing.
NO_NUMBER = frozenset(
    (
        *("", "-", "--", "---", "nan", "null", "none", "n/a", "na", "nil", "<na>", "\\n", "..."),
        # Of spreadsheets, and of other languages' NaN.
        *("#n/a", "#na", "#value!", "#div/0!", "#num!", "#ref!", "#name?", "#null!"),
        *("-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    )
)


class TextTable(NamedTuple):
    """A table as it was written.

    Attributes
    ----------
    names, units
        Of the columns; stripped, empty where not given.
    columns
        Cells as stripped text.
    lines
        Line number of each row, from 1.
    broken
        Lines whose number of cells does not fit the header; the columns lack them.
    skipped
        Lines before the header, and lines below it that begin with #; the columns lack them.
    """

    names: list[str]
    units: list[str]
    columns: list[pd.Series]
    lines: list[int]
    broken: list[int]
    skipped: list[int]


def read_delimited(text: str, preferred: str | None = None) -> TextTable:
    """Read a table with a header.

    Parameters
    ----------
    text
    preferred
        Delimiter that is taken if it occurs in the header.

    Raises
    ------
    ValueError
        There is no header, or quotation marks are not closed.
    """
    lines = list(io.StringIO(text.translate(INVISIBLE), newline=""))
    first = next((i for i, line in enumerate(lines) if _is_content(line)), None)
    if first is None:
        raise ValueError("it is empty")
    _join_header(lines, first)
    delimiter, header = _find_header(lines, first, preferred)
    if commented := _commented_header(lines, first, delimiter):
        names, start = commented, first
    else:
        names, start = _split(lines[header], delimiter, _NAME), header + 1
    skipped = [i + 1 for i in range(first, start - 1) if _is_content(lines[i])]
    barred = delimiter == "|" and lines[max(start - 1, 0)].lstrip(" #").startswith("|")
    while names and not names[-1]:
        names.pop()
    units, start = _units(lines, start, delimiter, len(names))
    cells: list[list[str]] = []
    numbers, broken = [], []
    for number, row in _rows(lines, start, delimiter):
        if barred and not row[0]:
            row = row[1:]
        extra = any(row[len(names) :])
        if (len(row) < 2 and not row[0]) or _RULE.fullmatch(row[0]):
            continue
        if row[0].startswith("#") and row[0].lower() not in NO_NUMBER:
            skipped.append(number)
        elif extra or (delimiter == _BLANKS and len(row) != len(names)):
            broken.append(number)
        else:
            cells.append((row + [""] * len(names))[: len(names)])
            numbers.append(number)
    # Spreadsheets write empty rows at the end.
    while cells and not any(cells[-1]):
        cells.pop()
        numbers.pop()
    table = pd.DataFrame(cells, columns=range(len(names)), dtype=str)
    columns = [table[i] for i in range(len(names))]
    if delimiter != ",":
        columns = [_with_decimal_points(column) for column in columns]
    return TextTable(names, units, columns, numbers, broken, skipped)


def _is_content(line: str) -> bool:
    return not (
        line.lstrip().startswith("#") or _RULE.fullmatch(line) or not line.strip(" \t\r\n,;|")
    )


def _join_header(lines: list[str], first: int) -> None:
    """Join the lines of a header whose names have line breaks, as spreadsheets allow."""
    for last in range(first + 1, min(first + _N_JOINED, len(lines))):
        if not _OPEN_QUOTE.search(lines[first]):
            return
        joined = " ".join(line.strip() for line in lines[first : last + 1])
        if joined.count('"') % 2 == 0 and not _OPEN_QUOTE.search(joined):
            # The numbers of the following lines remain.
            lines[first : last + 1] = [f"{joined}\n", *["\n"] * (last - first)]
            return


def _split(line: str, delimiter: str, word: re.Pattern[str] = _WORD) -> list[str]:
    """Cells of the header or of a line below it, without the bar that it may begin with."""
    row = next((row for _, row in _rows([line], 0, delimiter, word)), [])
    return row[1:] if delimiter == "|" and len(row) > 1 and not row[0] else row


def _rows(
    lines: Sequence[str], start: int, delimiter: str, word: re.Pattern[str] = _WORD
) -> list[tuple[int, list[str]]]:
    """Return number and stripped cells of the rows from a line on."""
    if delimiter == _BLANKS:
        cells = [["".join(pair).strip() for pair in word.findall(line)] for line in lines[start:]]
        return [(start + i, row or [""]) for i, row in enumerate(cells, 1)]
    rows, numbers = [], []
    reader = csv.reader(
        _without_quotes_in_comments(lines[start:]), delimiter=delimiter, skipinitialspace=True,
        strict=True,
    )  # fmt: skip
    try:
        for row in reader:
            numbers.append(start + reader.line_num)
            rows.append([cell.strip() for cell in row] or [""])
    except csv.Error as error:
        raise ValueError(f"line {start + reader.line_num}: {error}") from None
    return list(zip(numbers, rows, strict=True))


def _without_quotes_in_comments(lines: Sequence[str]) -> list[str]:
    return [line.replace('"', "'") if line.lstrip().startswith("#") else line for line in lines]


def _find_header(lines: Sequence[str], first: int, preferred: str | None) -> tuple[str, int]:
    """Return the delimiter and the index of the header.

    The header is the first line with several cells. That delimiter is taken with which it is the
    earliest line, if half of the following lines fit it, then that which they fit best, and
    among equals that with the most columns.
    """
    sample = [i for i in range(first, len(lines)) if _is_content(lines[i])][:_N_SAMPLE]
    best: tuple[tuple[bool, bool, int, float, int], str, int] | None = None
    for delimiter in (*_DELIMITERS, _BLANKS):
        if delimiter == _BLANKS and best and best[0][1] and best[0][2] == 0:
            break
        rows = [_cells(lines[i], delimiter) for i in sample]
        place = next((k for k, row in enumerate(rows) if sum(map(bool, row)) > 1), None)
        if place is None or (delimiter == _BLANKS and place > 0):
            continue
        width = len(_cells(lines[sample[place]], delimiter, _NAME))
        below = [len(row) for row in rows[place + 1 :]]
        # Empty cells at the end may be missing.
        fits = [(n == width) + 0.5 * (1 < n < width and delimiter != _BLANKS) for n in below]
        fit = sum(fits) / len(fits) if fits else 1.0
        # Below a title there has to be a table.
        if (fit < 0.5 and (delimiter == _BLANKS or place)) or (place and not below):
            continue
        rating = (delimiter == preferred, fit >= 0.5, -place, fit, width)
        if best is None or rating > best[0]:
            best = rating, delimiter, sample[place]
    if best is None:
        # A single column, of which lines may end with a delimiter.
        last = lines[first].rstrip(" \r\n")[-1]
        return last if last in _DELIMITERS else _NONE, first
    return best[1], best[2]


def _cells(line: str, delimiter: str, word: re.Pattern[str] = _WORD) -> list[str]:
    """Cells of a line without empty ones at its end; the line itself if it can't be split.

    Between blanks, only a quoted cell is empty, which counts.
    """
    try:
        cells = _split(line, delimiter, word)
    except ValueError:
        cells = [line]
    while cells and not cells[-1] and delimiter != _BLANKS:
        cells.pop()
    return cells


def _commented_header(lines: Sequence[str], first: int, delimiter: str) -> list[str] | None:
    """Names in the comment before the first line, if only that line holds values: ``# ra dec``."""
    cells = _cells(lines[first], delimiter)
    comments = [i for i in range(first) if lines[i].lstrip().startswith("#")]
    names = _cells(lines[comments[-1]].lstrip(" \t#"), delimiter, _NAME) if comments else []
    if len(names) != len(cells) or _USUAL & {cell.lower() for cell in cells}:
        return None
    usual = bool(_USUAL & {name.lower() for name in names})
    return names if usual or any(map(_is_number, cells)) else None


def _units(lines: Sequence[str], start: int, delimiter: str, number: int) -> tuple[list[str], int]:
    """Return the units below the header, empty without, and the index of the first row."""
    none = [""] * number
    below = []
    for i in range(start, min(start + 3, len(lines))):
        below.append((i, _cells(lines[i], delimiter) if _is_content(lines[i]) else [""]))
    for place, (i, cells) in enumerate(below[:2]):
        filled = [cell for cell in cells if cell]
        is_rule = all(set(cell) <= {"-", "+", ":"} for cell in filled)
        given = below[0][1] if place else []
        # Three dashes below a row may also be values that are missing.
        is_rule = is_rule and max(map(len, filled), default=0) > 2 + place
        if filled and is_rule and not any(map(_is_number, given)):
            # A rule, as VizieR, psql and Markdown have it; VizieR's has the units above.
            return (given + none)[:number], i + 1
    if below:
        i, cells = below[0]
        filled = [cell for cell in cells if cell]
        if filled and any(_is_angle(cell) for cell in filled) and all(map(_is_unit, filled)):
            return (cells + none)[:number], i + 1
    return none, start


def _is_unit(text: str) -> bool:
    return _unit(text) is not None or _is_angle(text)


def _is_angle(text: str) -> bool:
    unit = _unit(text)
    return text.strip("[]() ").lower() in _ANGLES or (
        unit is not None and unit.is_equivalent(u.deg)
    )


def _unit(text: str) -> u.UnitBase | None:
    """The unit that a cell names; None for numbers, also with a unit, and other words."""
    text = text.strip("[]() ")
    if re.match(r"[+\-\u2212]?\.?\d", text):
        return None
    try:
        return u.Unit(text.lower())
    except (ValueError, TypeError):
        return None


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text))


def _with_decimal_points(column: pd.Series) -> pd.Series:
    """Replace the decimal commas of a column of numbers or angles by points."""
    if not column.str.contains(",", regex=False).any():
        return column
    cells = column[~column.str.lower().isin(NO_NUMBER)]
    if not cells.map(lambda cell: bool(_DECIMAL_COMMA.fullmatch(cell))).all():
        return column
    return column.str.replace(",", ".", regex=False)
