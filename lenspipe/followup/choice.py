"""Choice of the candidates that get a sheet, and positions of their suspected source images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.candidates import read_candidates
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tables import unescape_formulas

__all__ = ["choose_candidates", "read_arrows", "read_graded"]

# Larger than any cutout: beyond it a name is wrong, or the unit (hours, pixels).
_MAX_DISTANCE_ARCSEC = 60


def read_graded(paths: RunPaths, graded: Path | None = None) -> pd.DataFrame:
    """Read a run's candidates with their grades.

    Parameters
    ----------
    graded
        CSV with ``name`` or ``id``, ``grade`` and optionally ``mean``. If not given, the run's
        ``inspection/grades.csv``, if it exists.

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
    table = table.assign(grade="", mean_grade=np.nan)
    exported = paths.inspection("grades.csv")
    graded = graded or (exported if exported.exists() else None)
    if graded is None:
        return table
    grades = _read_csv(graded, "name or id, and grade")
    key = _first(("id", "name"), grades)
    if key is None or "grade" not in grades:
        raise LenspipeError(
            f"{graded}: found columns {', '.join(grades)}, expected name or id, and grade; correct "
            "the file"
        )
    grades = grades.drop_duplicates(key, keep="last").set_index(key)
    table["grade"] = table[key].map(grades["grade"]).fillna("")
    for mean in {"mean", "mean_grade"} & set(grades):
        table["mean_grade"] = pd.to_numeric(table[key].map(grades[mean]), errors="coerce")
    return table


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
        Names or ids, one per line, or a CSV with a column ``name`` or ``id``.

    Raises
    ------
    LenspipeError
        A candidate does not exist, or none is chosen.
    """
    if grades is not None:
        requested = [grade.strip() for grade in grades.split(",") if grade.strip()]
        chosen = table[table["grade"].isin(requested)]
        if chosen.empty:
            counts = table["grade"][table["grade"] != ""].value_counts().sort_index()
            available = ", ".join(f"{number} {grade}" for grade, number in counts.items())
            raise LenspipeError(
                f"--grades: found {available or 'no grades'}, expected some of "
                f"{', '.join(requested)}; grade the candidates or give --graded"
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
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LenspipeError(
            f"{path}: cannot be read ({error}); expected a text file with one name per line"
        ) from None
    lines = [line for line in lines if line and not line.startswith("#")]
    header = [word.strip().lower() for word in lines[0].split(",")] if lines else []
    if key := _first(("name", "id"), header):
        table = _read_csv(path, key)
        return list(table[key].dropna())
    return lines


def read_arrows(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Read the positions of candidates' suspected source images.

    For the candidates in the table (name, id, ra, dec): id, ra, dec (degrees), dx, dy (arcsec),
    label.

    Parameters
    ----------
    path
        CSV with ``name`` (or ``id``) of the candidate, optionally ``label``, and either ``ra`` and
        ``dec``, degrees, or ``dx`` and ``dy``, arcsec to the East and to the North of it.

    Raises
    ------
    LenspipeError
        Columns are missing, or a position is not a number or more than 60 arcsec away.
    """
    arrows = _read_csv(path, "name, ra, dec or name, dx, dy")
    key = _first(("id", "name"), arrows)
    pair = next((p for p in (("ra", "dec"), ("dx", "dy")) if {*p} <= {*arrows}), None)
    if key is None or pair is None:
        raise LenspipeError(
            f"{path}: found columns {', '.join(arrows)}, expected name, ra, dec or name, dx, dy; "
            "correct the file"
        )
    for name in pair:
        arrows[name] = pd.to_numeric(arrows[name], errors="coerce")
    if (bad := ~np.isfinite(arrows[[*pair]]).all(axis=1)).any():
        raise LenspipeError(
            f"{path}: found no number in {pair[0]} or {pair[1]} of line {bad.idxmax() + 2}, "
            "expected degrees or arcsec; correct it"
        )
    centres = table.drop_duplicates(key).set_index(key)[["ra", "dec"]]
    arrows = arrows[arrows[key].isin(centres.index)].reset_index()
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
        raise LenspipeError(
            f'{path}: found in line {worst["index"] + 2} a position {distance.max():.0f}" from '
            f'{worst[key]}, expected at most {_MAX_DISTANCE_ARCSEC}"; correct it'
        )
    ids = table.drop_duplicates(key).set_index(key)["id"] if key == "name" else None
    arrows["id"] = arrows["name"].map(ids) if key == "name" else arrows["id"]
    letters = arrows.groupby("id").cumcount().map(lambda place: chr(ord("A") + place % 26))
    labels = arrows["label"] if "label" in arrows else pd.Series(np.nan, index=arrows.index)
    arrows["label"] = labels.where(labels.notna(), letters).astype(str)
    return arrows[["id", "ra", "dec", "dx", "dy", "label"]]


def _first(names: Iterable[str], columns: Iterable[str]) -> str | None:
    """First of some names that is a column; None if none is."""
    columns = set(columns)
    return next((name for name in names if name in columns), None)


def _read_csv(path: Path, expected: str) -> pd.DataFrame:
    """Read a CSV as strings, column names in lower case; comments begin with #."""
    try:
        table = pd.read_csv(path, dtype=str, comment="#", skipinitialspace=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LenspipeError(
            f"{path}: cannot be read as CSV ({reason}); expected columns {expected}"
        ) from None
    return unescape_formulas(table).rename(columns=lambda name: name.strip().lower())
