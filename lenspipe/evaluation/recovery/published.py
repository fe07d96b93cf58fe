"""What a search made of each entry of a published catalogue."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lenspipe.catalogs.files import read_raw
from lenspipe.catalogs.known_lenses import read_entries
from lenspipe.config.flags import rejected
from lenspipe.config.paths import RunPaths
from lenspipe.evaluation.recovery.reasons import explain_missing
from lenspipe.evaluation.recovery.summary import draw_recovery, summarise, summary_text
from lenspipe.products.models import splits_trained_on
from lenspipe.products.sample import SPLITS
from lenspipe.utils.crossmatch import Sky, friends_of_friends, match_tables
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log

__all__ = ["compare", "match_scores", "recover", "recovery_of"]

#: Key of the configuration, for messages.
_KEY = "recovery.catalogs"

#: More groups than this are no groups.
_MOST_GROUPS = 30

_GRADES = ("A", "B", "C", "ungraded", "D")

_COLUMNS = (
    *("line", "name", "ra", "dec", "grade", "group", "id", "separation_arcsec", "p", "scored"),
    *("split", "reason", "detail", "n_matches", "duplicate_of"),
)

_HIDDEN = ("system", "trained_on", "best")


class _Scores(NamedTuple):
    """Tables of scores, and the run that they are of, if they are of one."""

    paths: list
    run: RunPaths | None


def recover(settings):
    """Compare a run with each catalogue of ``recovery.catalogs``.

    Writes ``recovery/<catalogue>.csv``, ``.png`` and, last, ``.json``; tables go to the log.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Raises
    ------
    LenspipeError
        As in `compare`.
    """
    for catalogue in settings.recovery.catalogs:
        folder = settings.paths.recovery("")
        text = recovery_of(settings.paths.root, catalogue, settings.recovery, folder, settings)
        for line in text.splitlines():
            log.info(line)


def recovery_of(scores, catalogue, own, folder, settings=None):
    """Compare scores with a catalogue and write what comes of it.

    Parameters
    ----------
    scores : str or path-like
        A run's folder, a folder of scores, or a Parquet file of scores.
    catalogue : lenspipe.config.learning.Catalogue
    own : lenspipe.config.results.Recovery
        How to compare.
    folder : str or path-like
        Where ``<catalogue>.csv``, ``.png`` and ``.json`` are written.
    settings : lenspipe.config.settings.Settings, optional
        Of the run.

    Returns
    -------
    str
        The counts as lines of text.

    Raises
    ------
    LenspipeError
        As in `compare`.
    """
    entries, summary = compare(scores, catalogue, own, settings)
    path = Path(folder) / f"{catalogue.label}.csv"
    with atomic(path) as temporary:
        shown = entries[list(_COLUMNS)].round({"separation_arcsec": 4})
        shown.to_csv(temporary, index=False)
    draw_recovery(entries, summary, path.with_suffix(".png"))
    with atomic(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    return summary_text(summary)


def compare(scores, catalogue, own, settings=None):
    """Find what a search made of each entry of a catalogue.

    The galaxy of an entry is the one within the radius with the best score: without a rejected flag
    before those with one, and these before those without a score.

    Parameters
    ----------
    scores, catalogue, own, settings
        As of `recovery_of`.

    Returns
    -------
    entries : pandas.DataFrame
        The columns in docs/outputs.md, a row per entry in the order of the catalogue; and system
        (int; number of the entries that are one), trained_on (bool, or None where it is not known)
        and best (float32; p if it counts at a threshold, else NaN).
    summary : dict
        What ``<catalogue>.json`` holds.

    Raises
    ------
    LenspipeError
        There are no scores, or they lack a column; the catalogue is unreadable, or has no such
        column, or no row with a position; the labelled sample is unreadable.
    """
    found = _find_scores(scores)
    entries = _read_catalogue(catalogue, own, settings)
    matched = match_scores(found.paths, entries["ra"], entries["dec"], own.radius_arcsec, settings)
    entries = entries.join(matched.drop(columns="rank"))
    entries["split"], entries["trained_on"] = _splits(entries, found.run, own)
    entries["scored"] = matched["rank"] > 0
    entries["best"] = entries["p"].where(matched["rank"] == 2).astype("float32")
    lowest = np.float32(own.thresholds[0])
    entries["reason"] = np.select(
        [matched["rank"] == 1, matched["rank"] == 0, entries["best"] >= lowest],
        ["flagged", "no score", "passed"],
        "below threshold",
    ).astype(object)
    entries["detail"] = ""
    missing = entries[matched["rank"] < 0]
    entries.loc[missing.index, "reason"] = "not scored"
    if found.run and len(missing):
        why = explain_missing(missing, found.run, own.radius_arcsec, settings)
        for column in why:
            entries.loc[missing.index, column] = why[column]
    summary = summarise(entries, catalogue.label, str(scores), own)
    return entries[[*_COLUMNS, *_HIDDEN]], summary


def match_scores(paths, ra, dec, radius_arcsec, settings=None):
    """Find the best scored galaxy of each position; scores are read piece by piece.

    Parameters
    ----------
    paths : iterable of str or path-like
        Parquet tables of scores: ra, dec, p and, if they have them, id and flags.
    ra, dec : array_like, shape (N,)
        Degrees.
    radius_arcsec : float
    settings : lenspipe.config.settings.Settings, optional
        Their ``candidates.reject_flags`` tell which flags count; none do without, or for targets.

    Returns
    -------
    pandas.DataFrame, N rows
        id (str), separation_arcsec (float64), p (float32), n_matches (int64; galaxies within the
        radius) and rank (int64): 2 scored, 1 scored and flagged, 0 no score for it, -1 no galaxy.

    Raises
    ------
    LenspipeError
        A table can't be read or lacks a column.
    """
    sky = Sky(ra, dec, radius_arcsec)
    pairs = match_tables(paths, sky, ["p"], ["id", "flags"])
    pairs["rank"] = np.where(pairs["p"].notna(), 2, 0)
    if settings and not settings.targets and "flags" in pairs:
        flagged = rejected(pairs["flags"].fillna(0), settings)
        pairs["rank"] = np.where(flagged & (pairs["rank"] == 2), 1, pairs["rank"])
    best = pairs.sort_values(
        ["entry", "rank", "p", "separation_arcsec"], ascending=[True, False, False, True]
    ).drop_duplicates("entry")
    best = best.set_index("entry").reindex(range(len(sky)))
    ids = best["id"].astype(object) if "id" in best else pd.Series("", best.index, object)
    return pd.DataFrame(
        {
            "id": ids.where(ids.notna(), ""),
            "separation_arcsec": best["separation_arcsec"].astype("float64"),
            "p": best["p"].astype("float32"),
            "n_matches": np.bincount(pairs["entry"].astype(int), minlength=len(sky)),
            "rank": best["rank"].fillna(-1).astype("int64"),
        }
    )


def _find_scores(path):
    """Find tables of scores, and the run that they belong to."""
    path = Path(path)
    if path.is_file():
        return _Scores([path], None)
    root = path.parent if path.name == "scores" and not (path / "scores").is_dir() else path
    run = RunPaths(root.name, root.parent)
    if run.bricks.exists():
        # Tables of chunks that an earlier footprint had may lie beside them.
        chunks = sorted(set(pd.read_parquet(run.bricks, columns=["chunk"])["chunk"]))
        tables = [table for table in map(run.scores, chunks) if table.exists()]
    else:
        run, tables = None, sorted(path.glob("*.parquet"))
    if not tables:
        raise LenspipeError(
            f"{path}: found no tables of scores (.parquet); give a run that has scored, a folder "
            "of its scores, or one such table"
        )
    return _Scores(tables, run)


def _read_catalogue(catalogue, own, settings):
    """Entries with the group that each is counted in, the system that it is of, and duplicates."""
    entries = read_entries(settings, catalogue, _KEY)
    if entries.empty:
        raise LenspipeError(
            f"{catalogue.path}: found no row with a position, expected candidates; correct config "
            f"key {_KEY}"
        )
    if own.by == "grade":
        entries["group"] = entries["grade"].where(entries["grade"] != "", "ungraded")
    else:
        entries["group"] = _column(catalogue.path, own.by, entries, settings)
    numbers = entries["group"].nunique()
    if numbers > _MOST_GROUPS:
        raise LenspipeError(
            f"{catalogue.path}: found {numbers} different values of {own.by}, expected at most "
            f"{_MOST_GROUPS} to count by; choose another column (recovery.by)"
        )
    unnamed = entries["name"] == ""
    entries.loc[unnamed, "name"] = iau_name(entries["ra"], entries["dec"])[unnamed]
    entries["system"] = friends_of_friends(entries["ra"], entries["dec"], own.radius_arcsec)
    # The best grade stands for a system, then the first entry.
    grade = entries["grade"].where(entries["grade"] != "", "ungraded").map(_GRADES.index)
    firsts = entries.assign(rank=grade).sort_values("rank", kind="stable")
    firsts = firsts.drop_duplicates("system").set_index("system")["line"]
    line = entries["system"].map(firsts)
    entries["duplicate_of"] = line.where(line != entries["line"]).astype("Int64")
    return entries


def _column(path, name, entries, settings):
    """Any column of the catalogue's file as text, for the entries that have a position."""
    raw = read_raw(path, _KEY, settings)
    names = [own.strip().lower() for own in raw.names]
    if name not in names:
        raise LenspipeError(
            f"{path}: found columns {', '.join(raw.names)}; expected {name} to count by; correct "
            "config key recovery.by"
        )
    column = raw.table[names.index(name)].set_axis(raw.lines)
    values = column.reindex(entries["line"]).to_numpy(object)
    return pd.Series(values).map(lambda v: "" if pd.isna(v) else str(v).strip()).replace("", "-")


def _splits(entries, run, own):
    """Split of the labelled sample that has a galaxy near each entry, and whether it was learnt.

    Of several the first of train, validation and test; the last column is None without a sample.
    """
    path = Path(own.sample) if own.sample else run and run.sample
    if own.sample and not path.is_file():
        raise LenspipeError(
            f"{path}: no such file, expected the table of a labelled sample; correct config key "
            "recovery.sample"
        )
    if not (path and path.is_file()):
        return "", None
    sky = Sky(entries["ra"], entries["dec"], own.radius_arcsec)
    pairs = match_tables([path], sky, ["split"])
    place = pairs["split"].map({name: place for place, name in enumerate(SPLITS)})
    first = place.groupby(pairs["entry"]).min().reindex(entries.index)
    split = first.map(dict(enumerate(SPLITS))).fillna("not in the sample")
    return split, split.isin(splits_trained_on(path.parents[1] / "models")).astype(object)
