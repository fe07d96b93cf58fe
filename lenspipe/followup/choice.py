"""Choice of the candidates that get a sheet, and positions of their suspected source images."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.catalogs.positions import DEC, RA, find_columns, read_positions
from lenspipe.config.paths import RunPaths
from lenspipe.products.candidates import read_candidates
from lenspipe.products.grades import add_grades, read_grades
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import read_text, read_user_table

__all__ = ["choose_candidates", "read_arrows", "read_graded"]

# Larger than any cutout: beyond it a name is wrong, or the unit (hours, pixels).
_MAX_DISTANCE_ARCSEC = 60


def read_graded(paths: RunPaths, graded: Path | None = None) -> pd.DataFrame:
    """Read a run's candidates with their grades.

    Parameters
    ----------
    graded
        Table with ``name`` or ``id``, ``grade`` and optionally ``mean``, as read by
        `lenspipe.products.grades.read_grades`. If not given, the run's ``inspection/grades.csv``,
        if it exists.

    Returns
    -------
    pandas.DataFrame
        Columns of ``candidates/candidates.fits``, ``grade`` (empty: none) and ``mean_grade``
        (NaN: none), best first.

    Raises
    ------
    LenspipeError
        The run has no candidates, or the grades cannot be read.
    """
    table = read_candidates(paths.candidates, hidden=True)
    exported = paths.inspection("grades.csv")
    graded = graded or (exported if exported.exists() else None)
    if graded is None:
        return table.assign(grade="", mean_grade=np.nan)
    return add_grades(table, read_grades(graded, any_word=True), graded)


def choose_candidates(
    table: pd.DataFrame,
    paths: RunPaths,
    names: Iterable[str] | None = None,
    grades: str | None = None,
    file: Path | None = None,
) -> pd.DataFrame:
    """Choose candidates by names, grades or a file; exactly one of these is given.

    They are in the requested order, or in that of the table if chosen by grade; each once.

    Parameters
    ----------
    names
        Names or ids.
    grades
        Such as ``A,B``.
    file
        Names or ids, one per line, or a table with a column ``name`` or ``id``.

    Raises
    ------
    LenspipeError
        A candidate does not exist, or none is chosen.
    """
    if grades is not None:
        requested = [grade.strip() for grade in grades.split(",") if grade.strip()]
        lower = [grade.lower() for grade in requested]
        chosen = table[table["grade"].str.lower().isin(lower)]
        if chosen.empty:
            counts = table["grade"][table["grade"] != ""].value_counts().sort_index()
            available = ", ".join(f"{number} {grade}" for grade, number in counts.items())
            raise LenspipeError(
                f"--grades: found {available or 'no grades'}, expected some of "
                f"{', '.join(requested)}; grade the candidates and write the grades with "
                f"`lenspipe inspect {paths.root} --export`, or give --graded"
            )
        return chosen.reset_index(drop=True)
    source = "--names" if file is None else file
    requested = list(dict.fromkeys((names or ()) if file is None else _read_names(file)))
    places = pd.Series(table.index, index=table["id"]).to_dict()
    places |= pd.Series(table.index[::-1], index=table["name"][::-1]).to_dict()
    if absent := [name for name in requested if name not in places]:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise LenspipeError(
            f"{source}: found {', '.join(absent[:3])}{more}, expected names or ids of the "
            f"{len(table)} candidates in {paths.candidates.with_suffix('.csv')}; correct them"
        )
    if not requested:
        raise LenspipeError(
            f"{source}: found no names, expected one per line; name some candidates"
        )
    rows = list(dict.fromkeys(places[name] for name in requested))
    return table.loc[rows].reset_index(drop=True)


def _read_names(path: Path) -> list[str]:
    """Read names or ids: those of a table with such a column, else one in each line."""
    expected = "one name per line, or a table with a column name or id"
    table = read_user_table(path, expected)
    key = table.find("name", "id")
    if key is not None:
        table.refuse_broken()
        return [name for name in table.text(key) if name]
    lines = (line.strip() for line in io.StringIO(read_text(path, expected), newline=None))
    return [line for line in lines if line and not line.startswith("#")]


def read_arrows(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Read the positions of candidates' suspected source images.

    For the candidates in the table (name, id, ra, dec): id, ra, dec (degrees), dx, dy (arcsec),
    label.

    Parameters
    ----------
    path
        Table with ``name`` (or ``id``) of the candidate, optionally ``label``, and either ``ra``
        and ``dec``, degrees, or ``dx`` and ``dy``, arcsec to the East and to the North of it;
        other units of angles are converted.

    Raises
    ------
    LenspipeError
        Columns are missing, or a position is not a number or more than 60 arcsec away.
    """
    given = read_user_table(path, "columns name, ra, dec or name, dx, dy")
    given.refuse_broken()
    key = next((name for name in ("id", "name") if given.find(name) is not None), None)
    columns = find_columns(given, {"ra": RA, "dec": DEC})
    offsets = {name: number for name in ("dx", "dy") if (number := given.find(name)) is not None}
    if key is None or max(len(columns), len(offsets)) < 2:
        raise LenspipeError(
            f"{path}: found columns {', '.join(given.names)}, expected name, ra, dec or name, dx, "
            "dy; correct the file"
        )
    arrows = pd.DataFrame(
        {key: given.text(given.find(key)), "label": given.text(given.find("label"))}
    )
    pair = ("ra", "dec") if len(columns) == 2 else ("dx", "dy")
    if pair == ("ra", "dec"):
        positions = read_positions(given, columns)
        arrows["ra"], arrows["dec"] = positions.ra, positions.dec
    else:
        for name, number in offsets.items():
            arrows[name] = given.numbers(number, "arcsec")
    if (bad := ~np.isfinite(arrows[[*pair]]).all(axis=1)).any():
        raise LenspipeError(
            f"{path}: found no number in {pair[0]} or {pair[1]} of {given.where([bad.idxmax()])}, "
            "expected degrees or arcsec; correct it"
        )
    centres = table.drop_duplicates(key).set_index(key)[["ra", "dec"]]
    known = arrows[key].isin(centres.index)
    if not known.all():
        log.info(
            "%s: %d rows left out, of no candidate: %s",
            path, (~known).sum(), given.where(np.flatnonzero(~known)),
        )  # fmt: skip
    arrows = arrows[known].reset_index()
    centre = centres.loc[arrows[key]].reset_index(drop=True)
    cosine = np.cos(np.deg2rad(centre["dec"]))
    if pair == ("ra", "dec"):
        east = (arrows["ra"] - centre["ra"] + 180) % 360 - 180
        arrows["dx"] = east * cosine * 3600
        arrows["dy"] = (arrows["dec"] - centre["dec"]) * 3600
    else:
        arrows["ra"] = (centre["ra"] + arrows["dx"] / 3600 / cosine) % 360
        arrows["dec"] = centre["dec"] + arrows["dy"] / 3600
    distance = np.hypot(arrows["dx"], arrows["dy"])
    if (distance > _MAX_DISTANCE_ARCSEC).any():
        worst = arrows.loc[distance.idxmax()]
        where = given.where([worst["index"]])
        raise LenspipeError(
            f'{path}: found in {where} a position {distance.max():.0f}" from {worst[key]}, '
            f'expected at most {_MAX_DISTANCE_ARCSEC}"; correct it'
        )
    ids = table.drop_duplicates(key).set_index(key)["id"] if key == "name" else None
    arrows["id"] = arrows["name"].map(ids) if key == "name" else arrows["id"]
    letters = arrows.groupby("id").cumcount().map(lambda place: chr(ord("A") + place % 26))
    arrows["label"] = arrows["label"].where(arrows["label"] != "", letters).astype(str)
    return arrows[["id", "ra", "dec", "dx", "dy", "label"]]
