"""Which candidates get a sheet, and where on them the suspected source images are."""

import numpy as np
import pandas as pd

from lenspipe.products.candidates import read_candidates
from lenspipe.utils.errors import LenspipeError

__all__ = ["choose", "read_arrows", "read_graded"]

# Further away than any cutout reaches: a wrong name, hours, or pixels instead of arcsec.
_FARTHEST_ARCSEC = 60


def read_graded(paths, graded=None):
    """Read a run's candidates with their grades.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    graded : pathlib.Path, optional
        CSV with ``name`` or ``id``, ``grade`` and perhaps ``mean``. If not given, the run's
        ``inspection/grades.csv``, where that is; else grades that the candidates' own table has.

    Returns
    -------
    pandas.DataFrame
        Columns of ``candidates/candidates.fits``, ``grade`` (empty without) and ``mean_grade``
        (NaN without), best first.

    Raises
    ------
    LenspipeError
        No candidates, or grades that can't be read.
    """
    table = read_candidates(paths.candidates, hidden=True)
    table = table.assign(grade="", mean_grade=np.nan)
    own = paths.inspection("grades.csv")
    graded = graded or (own if own.exists() else None)
    if graded is None:
        return table
    given = _read_csv(graded, "name or id, and grade")
    key = next((name for name in ("id", "name") if name in given), None)
    if key is None or "grade" not in given:
        raise LenspipeError(
            f"{graded}: found columns {', '.join(given)}, expected name or id, and grade; correct "
            "the file"
        )
    given = given.drop_duplicates(key, keep="last").set_index(key)
    table["grade"] = table[key].map(given["grade"]).fillna("")
    for mean in {"mean", "mean_grade"} & set(given):
        table["mean_grade"] = pd.to_numeric(table[key].map(given[mean]), errors="coerce")
    return table


def choose(table, paths, names=None, grades=None, file=None):
    """Choose candidates by one of three ways.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `read_graded`.
    paths : lenspipe.config.paths.RunPaths
    names : list of str, optional
        Names or ids.
    grades : str, optional
        Such as ``A,B``.
    file : pathlib.Path, optional
        Names or ids, one a line, or a CSV with a column ``name`` or ``id``.

    Returns
    -------
    pandas.DataFrame
        In the order asked for, by grade in that of the table; each once.

    Raises
    ------
    LenspipeError
        A candidate is not there, or none is left.
    """
    if grades is not None:
        wanted = [grade.strip() for grade in grades.split(",") if grade.strip()]
        chosen = table[table["grade"].isin(wanted)]
        if chosen.empty:
            there = table["grade"][table["grade"] != ""].value_counts().sort_index()
            found = ", ".join(f"{number} {grade}" for grade, number in there.items())
            raise LenspipeError(
                f"--grades: found {found or 'no grades'}, expected some of {', '.join(wanted)}; "
                "grade the candidates or give --graded"
            )
        return chosen.reset_index(drop=True)
    source = "--names" if file is None else file
    wanted = list(dict.fromkeys(names if file is None else _read_names(file)))
    places = pd.Series(table.index, index=table["id"]).to_dict()
    places |= pd.Series(table.index[::-1], index=table["name"][::-1]).to_dict()
    if absent := [name for name in wanted if name not in places]:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise LenspipeError(
            f"{source}: found {', '.join(absent[:3])}{more}, expected names or ids of the "
            f"{len(table)} candidates in {paths.candidates.with_suffix('.csv')}; correct them"
        )
    if not wanted:
        raise LenspipeError(f"{source}: found no names, expected one a line; name some candidates")
    rows = list(dict.fromkeys(places[name] for name in wanted))
    return table.loc[rows].reset_index(drop=True)


def _read_names(path):
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LenspipeError(
            f"{path}: can't be read ({error}); expected a text file with a name a line"
        ) from None
    lines = [line for line in lines if line and not line.startswith("#")]
    header = [word.strip().lower() for word in lines[0].split(",")] if lines else []
    if key := next((name for name in ("name", "id") if name in header), None):
        table = _read_csv(path, key)
        return list(table[key].dropna())
    return lines


def read_arrows(path, table):
    """Read where the suspected source images of candidates are.

    Parameters
    ----------
    path : pathlib.Path
        CSV with ``name`` (or ``id``) of the candidate, ``label`` if wanted, and either ``ra`` and
        ``dec``, degrees, or ``dx`` and ``dy``, arcsec to the East and to the North of it.
    table : pandas.DataFrame
        Candidates: name, id, ra, dec (degrees).

    Returns
    -------
    pandas.DataFrame
        For the candidates in the table: id, ra, dec (degrees), dx, dy (arcsec), label.

    Raises
    ------
    LenspipeError
        Columns are missing, a position can't be read, or lies more than 60 arcsec away.
    """
    arrows = _read_csv(path, "name, ra, dec or name, dx, dy")
    key = next((name for name in ("id", "name") if name in arrows), None)
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
    if (distance > _FARTHEST_ARCSEC).any():
        worst = arrows.loc[distance.idxmax()]
        raise LenspipeError(
            f'{path}: found in line {worst["index"] + 2} a position {distance.max():.0f}" from '
            f'{worst[key]}, expected at most {_FARTHEST_ARCSEC}"; correct it'
        )
    ids = table.drop_duplicates(key).set_index(key)["id"] if key == "name" else None
    arrows["id"] = arrows["name"].map(ids) if key == "name" else arrows["id"]
    letters = arrows.groupby("id").cumcount().map(lambda place: chr(ord("A") + place % 26))
    given = arrows["label"] if "label" in arrows else pd.Series(np.nan, index=arrows.index)
    arrows["label"] = given.where(given.notna(), letters).astype(str)
    return arrows[["id", "ra", "dec", "dx", "dy", "label"]]


def _read_csv(path, expected):
    """Read a CSV with names in lower case as texts; comments begin with #."""
    try:
        table = pd.read_csv(path, dtype=str, comment="#", skipinitialspace=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as CSV ({reason}); expected columns {expected}"
        ) from None
    return table.rename(columns=lambda name: name.strip().lower())
