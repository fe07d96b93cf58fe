"""Lists of positions with any of the usual names of columns and formats of angles."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lenspipe.catalogs.files import read_raw
from lenspipe.catalogs.positions import DEC, RA, find_columns, read_positions, refuse_first
from lenspipe.config.data import Retrieval
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable, line_numbers

__all__ = ["read_list"]

#: Names of the other columns; the first one present is used.
_ALIASES = {
    "name": ("name",),
    "kind": ("kind",),
    "grade": ("grade", "grading"),
    "ref": ("ref", "reference", "references"),
    "tags": ("tags", "tag"),
}

#: Keys whose lists can have their unit in the configuration.
_WITH_UNIT = ("sample.known_lenses", "recovery.catalogs")


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
        kind (in lenscat's table: type), grade, ref and tags, each also under its other usual
        names.
        Right ascensions are in hours where they are sexagesimal or their column has that unit
        (``ra [h]``, ``ra_hours``); other units of angles are converted.
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
        Columns ra (0 to 360), dec (float64, degrees); name, kind, grade, ref, tags (str, stripped,
        empty where not given); line (int64; line number in the file, of a binary table the row,
        from 1; which of them is in its ``attrs``, ``noun``).

    Raises
    ------
    LenspipeError
        The file is missing or can't be read, columns are missing, a unit is unknown, right
        ascensions may be hours, no row has a position, or, if strict, one has none.
    RetrievalError
        A server did not deliver the file.
    """
    table = read_raw(str(path), key, retrieval, hosts)
    place = _find_columns(table, columns)
    remedy = f" (config key {key})"
    if key in _WITH_UNIT:
        remedy = f", or give it ra_unit: deg or hour{remedy}"
    positions = read_positions(table, place, ra_unit, remedy)
    for name, unit in (("ra", positions.ra_unit), ("dec", positions.dec_unit)):
        if unit:
            unit = f"{unit}s" if unit == "hour" else unit
            log.info("%s: %s in %s, converted to degrees", path, name, unit)
    if (rows := positions.sexagesimal).any():
        log.info(
            "%s: %d rows with sexagesimal positions (ra in hours), converted to degrees: %s",
            path, rows.sum(), table.where(np.flatnonzero(rows)),
        )  # fmt: skip
    if strict:
        refuse_first(table, positions, place)
    lines = np.asarray(table.lines, "int64")
    for bad, problem in (
        (table.broken, "another number of cells than in the header"),
        (lines[positions.missing], "no position in degrees or sexagesimal"),
        (lines[positions.outside], "ra not in -180 to 360 or dec not in -90 to 90"),
    ):
        if len(bad):
            numbers = line_numbers(table.noun, bad)
            log.info("%s: %d rows left out, %s: %s", path, len(bad), problem, numbers)
    result = pd.DataFrame({"ra": positions.ra, "dec": positions.dec})
    for name in _ALIASES:
        result[name] = table.text(place.get(name))
    result["line"] = lines
    result = result[~(positions.missing | positions.outside)].reset_index(drop=True)
    if len(table) and result.empty:
        ra, dec = (table.text(place[name])[0] or "empty" for name in ("ra", "dec"))
        raise LenspipeError(
            f"{path}: found no row with a position among {len(table)}, the first of which has ra "
            f"{ra}, dec {dec}; expected degrees or sexagesimal; correct config key {key}"
        )
    result["ra"] = np.mod(result["ra"], 360)
    result.attrs["noun"] = table.noun
    return result


def _find_columns(table: UserTable, needed: Sequence[str]) -> dict[str, int]:
    """Return the number of each column."""
    aliases = {"ra": RA, "dec": DEC, **_ALIASES}
    if table.find("zlens") is not None:
        # In other tables `type` is the type of the model fitted to a galaxy.
        aliases["kind"] = ("kind", "type")
    numbers = find_columns(table, aliases)
    if missing := [name for name in needed if name not in numbers]:
        several = f" (and with several values per row {', '.join(table.arrays)})"
        raise LenspipeError(
            f"{table.path}: found columns {', '.join(table.names)}{several * bool(table.arrays)}; "
            f"expected {', '.join(needed)}, positions in degrees; name the missing "
            f"{' and '.join(missing)}"
        )
    return numbers
