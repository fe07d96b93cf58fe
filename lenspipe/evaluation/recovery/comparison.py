"""The outcome of a search for each entry of a published catalogue."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.catalogs.files import read_raw
from lenspipe.catalogs.known_lenses import read_entries
from lenspipe.catalogs.positions import DEC, RA, find_columns, read_positions
from lenspipe.config.data import Retrieval
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.learning import Catalogue
from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Recovery
from lenspipe.config.settings import Settings
from lenspipe.config.surveys.base import Release
from lenspipe.config.surveys.registry import default_release
from lenspipe.evaluation.recovery.reasons import TractorFiles, explain_missing
from lenspipe.evaluation.recovery.summary import (
    GRADE_ORDER,
    format_summary,
    plot_recovery,
    summarise,
)
from lenspipe.products.files import write_json
from lenspipe.products.models import training_splits
from lenspipe.products.sample import SPLITS
from lenspipe.products.schema import RECOVERY, names_of
from lenspipe.products.scores import scores_note
from lenspipe.products.tables import chunks_of, write_table
from lenspipe.utils.crossmatch import Sky, friends_of_friends, match_tables, refuse_missing
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import read_user_table

__all__ = ["compare", "match_scores", "measure_recovery", "recovery_of"]

#: Configuration key, for messages.
_KEY = "recovery.catalogs"

#: Columns of a table of scores.
_SCORES = ("ra", "dec", "p", "id", "flags")

#: Maximum number of different values of the column that entries are counted by.
_MAX_GROUPS = 30

_COLUMNS = names_of(RECOVERY)
_HIDDEN = ("system", "trained_on", "best")


class _Scores(NamedTuple):
    """Tables of scores, and the run that they belong to, if any."""

    tables: list[Path] | list[pd.DataFrame]
    run: RunPaths | None


def measure_recovery(settings: Settings) -> None:
    """Compare a run with each catalogue of ``recovery.catalogs``.

    Writes ``recovery/<catalogue>.csv``, ``.png`` and, last, ``.json``; tables go to the log. Errors
    are those of `compare`.
    """
    for catalogue in settings.recovery.catalogs:
        folder = settings.paths.recovery_folder
        text = recovery_of(settings.paths.root, catalogue, settings.recovery, folder, settings)
        for line in text.splitlines():
            log.info(line)


def recovery_of(
    scores: str | os.PathLike[str],
    catalogue: Catalogue,
    recovery: Recovery,
    folder: str | os.PathLike[str],
    settings: Settings | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """Compare scores with a catalogue, write the results and return the counts as lines of text.

    Errors are those of `compare`.

    Parameters
    ----------
    scores
        A run's folder, a folder of scores in Parquet, or a table of scores in any format.
    folder
        Where ``<catalogue>.csv``, ``.png`` and ``.json`` are written.
    settings
        Of the run. Without them the release is that of the default configuration.
    names
        Columns ra, dec, p, id and flags of the tables of scores, where they are called otherwise.
    """
    entries, summary = compare(scores, catalogue, recovery, settings, names)
    path = Path(folder) / f"{catalogue.label}.csv"
    write_table(path, entries[_COLUMNS].round({"separation_arcsec": 4}))
    plot_recovery(entries, summary, path.with_suffix(".png"))
    write_json(path.with_suffix(".json"), summary)
    files = _find_scores(Path(scores), names or {}).tables
    note = scores_note(file for file in files if isinstance(file, Path))
    return (
        f"Scores of the {note}.\n\n{format_summary(summary)}" if note else format_summary(summary)
    )


def compare(
    scores: str | os.PathLike[str],
    catalogue: Catalogue,
    recovery: Recovery,
    settings: Settings | None = None,
    names: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, dict]:
    """Determine the outcome of a search for each entry of a catalogue.

    The galaxy of an entry is the one within the radius with the highest score; galaxies without a
    rejected flag take precedence over flagged ones, and these over galaxies without a score.
    Arguments are those of `recovery_of`.

    Returns
    -------
    entries : pandas.DataFrame
        The columns in docs/outputs.md, a row per entry in the order of the catalogue; and system
        (int; the same for entries of one system), trained_on (bool, or None where it is not known)
        and best (float32; p if it is compared with thresholds, else NaN).
    summary : dict
        Content of ``<catalogue>.json``.

    Raises
    ------
    LenspipeError
        There are no scores, or they lack a column; the catalogue is unreadable, or lacks the column
        to count by, or any position; the labelled sample is unreadable.
    """
    tables, run = _find_scores(Path(scores), names or {})
    release = settings.release if settings else default_release()
    retrieval, hosts = (settings.retrieval, settings.paths.hosts) if settings else (None, None)
    entries = _read_catalogue(catalogue, recovery, release, retrieval, hosts)
    radius_arcsec = recovery.radius_arcsec
    flags = settings.candidates.reject_flags if settings and not settings.targets else ()
    matched = match_scores(tables, entries["ra"], entries["dec"], radius_arcsec, flags, names=names)
    entries = entries.join(matched.drop(columns="rank"))
    sample = _find_sample(recovery.sample, run)
    entries["split"], entries["trained_on"] = (
        _splits(entries, sample, radius_arcsec) if sample else ("", None)
    )
    entries["scored"] = matched["rank"] > 0
    entries["best"] = entries["p"].where(matched["rank"] == 2).astype("float32")
    lowest = np.float32(recovery.thresholds[0])
    entries["reason"] = np.select(
        [matched["rank"] == 1, matched["rank"] == 0, entries["best"] >= lowest],
        ["flagged", "no score", "passed"],
        "below threshold",
    ).astype(object)
    entries["detail"] = ""
    missing = entries[matched["rank"] < 0]
    entries.loc[missing.index, "reason"] = "not scored"
    if run and len(missing):
        survey = _tractor_files(settings) if settings else None
        explained = explain_missing(missing, run, radius_arcsec, release, survey)
        for column in explained:
            entries.loc[missing.index, column] = explained[column]
    summary = summarise(entries, catalogue.label, str(scores), recovery)
    return entries[[*_COLUMNS, *_HIDDEN]], summary


def match_scores(
    tables: Iterable[str | os.PathLike[str] | pd.DataFrame],
    ra: ArrayLike,
    dec: ArrayLike,
    radius_arcsec: float,
    reject_flags: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Find the galaxy with the best score at each position; scores are read piece by piece.

    Columns are id (str), separation_arcsec (float64), p (float32), n_matches (int64; galaxies
    within the radius) and rank (int64): 2 scored, 1 scored and flagged, 0 without score, -1 no
    galaxy. The tables, in Parquet, have ra, dec (degrees), p and optionally id and flags, perhaps
    by other `names`.

    Raises
    ------
    LenspipeError
        A table can't be read or lacks a column.
    """
    sky = Sky(ra, dec, radius_arcsec)
    pairs = match_tables(tables, sky, ["p"], ["id", "flags"], names)
    pairs["rank"] = np.where(pairs["p"].notna(), 2, 0)
    if "flags" in pairs:
        flagged = has_rejected_flag(pairs["flags"].fillna(0), reject_flags)
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


def _find_scores(path: Path, names: Mapping[str, str]) -> _Scores:
    if path.is_file():
        with open(path, "rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        return _Scores([path] if is_parquet else [_read_scores(path, names)], None)
    root = path.parent if path.name == "scores" and not (path / "scores").is_dir() else path
    run: RunPaths | None = RunPaths(root.name, root.parent)
    if run and run.bricks.exists():
        # There may also be tables of chunks that only an earlier footprint had.
        tables = [table for table in map(run.scores, chunks_of(run.bricks)) if table.exists()]
    else:
        run, tables = None, sorted(path.glob("*.parquet"))
    if not tables:
        raise LenspipeError(
            f"{path}: found no tables of scores (.parquet); give a run that has scores, a folder "
            "of scores, or one table"
        )
    return _Scores(tables, run)


def _read_scores(path: Path, names: Mapping[str, str]) -> pd.DataFrame:
    """Read scores from a table in any format that users have, by our names of the columns."""
    given = read_user_table(path, "scores: columns ra, dec and p")
    given.refuse_broken()
    columns = find_columns(given, {"ra": RA, "dec": DEC})
    columns |= {name: place for name in _SCORES if (place := given.find(names.get(name, name)))
                is not None}  # fmt: skip
    refuse_missing(path, [*given.names, *columns], ["ra", "dec", "p"], {})
    positions = read_positions(given, columns)
    table = pd.DataFrame({"ra": positions.ra, "dec": positions.dec})
    table["p"] = given.numbers(columns["p"]).astype(np.float32)
    if "id" in columns:
        table["id"] = given.text(columns["id"])
    if "flags" in columns:
        table["flags"] = given.numbers(columns["flags"])
    return table[np.isfinite(table[["ra", "dec"]]).all(axis=1)]


def _tractor_files(settings: Settings) -> TractorFiles | None:
    """The survey's Tractor files, unless they would have to be downloaded and the run did not."""
    files = TractorFiles(
        settings.survey_paths,
        settings.survey,
        settings.parent,
        settings.retrieval,
        settings.paths.hosts,
    )
    unread = settings.targets or (settings.survey.catalogs != "tractor" and files.is_remote)
    return None if unread else files


def _read_catalogue(
    catalogue: Catalogue,
    recovery: Recovery,
    release: Release,
    retrieval: Retrieval | None,
    hosts: Path | None,
) -> pd.DataFrame:
    """Entries with the group in which each is counted, its system, and duplicates."""
    entries = read_entries(catalogue, _KEY, retrieval, hosts)
    if number := (entries["status"] == "no lens").sum():
        log.info(
            "recovery: %s: %d rows left out, whose references list no lenses",
            catalogue.path,
            number,
        )
    entries = entries[entries["status"] != "no lens"].reset_index(drop=True)
    if entries.empty:
        raise LenspipeError(
            f"{catalogue.path}: found no row with a position, expected candidates; correct config "
            f"key {_KEY}"
        )
    if recovery.by == "grade":
        entries["group"] = entries["grade"].where(entries["grade"] != "", "ungraded")
    else:
        entries["group"] = _column(catalogue.path, recovery.by, entries, retrieval, hosts)
    n_groups = entries["group"].nunique()
    if n_groups > _MAX_GROUPS:
        raise LenspipeError(
            f"{catalogue.path}: found {n_groups} different values of {recovery.by}, expected at "
            f"most {_MAX_GROUPS} to count by; choose another column (recovery.by)"
        )
    unnamed = entries["name"] == ""
    names = iau_name(entries["ra"], entries["dec"], release.name_prefix)
    entries.loc[unnamed, "name"] = names[unnamed]
    entries["system"] = friends_of_friends(entries["ra"], entries["dec"], recovery.radius_arcsec)
    # A system is represented by its entry with the best grade, then by the first.
    grade = entries["grade"].where(entries["grade"] != "", "ungraded").map(GRADE_ORDER.index)
    best = entries.assign(rank=grade).sort_values("rank", kind="stable")
    best = best.drop_duplicates("system").set_index("system")["line"]
    line = entries["system"].map(best)
    entries["duplicate_of"] = line.where(line != entries["line"]).astype("Int64")
    return entries


def _column(
    path: str, name: str, entries: pd.DataFrame, retrieval: Retrieval | None, hosts: Path | None
) -> pd.Series:
    """Read any column of the catalogue as text, for the entries that have a position."""
    raw = read_raw(path, _KEY, retrieval, hosts)
    number = raw.find(name)
    if number is None:
        raise LenspipeError(
            f"{path}: found columns {', '.join(raw.names)}; expected {name} to count by; correct "
            "config key recovery.by"
        )
    column = raw.text(number).set_axis(raw.lines)
    return column.reindex(entries["line"]).replace("", "-").reset_index(drop=True)


def _find_sample(given: str | None, run: RunPaths | None) -> Path | None:
    """The labelled sample's table: a given one, otherwise that of the run if it has one."""
    if given and not Path(given).is_file():
        raise LenspipeError(
            f"{given}: no such file, expected the table of a labelled sample; correct config key "
            "recovery.sample"
        )
    if given:
        return Path(given)
    return run.sample if run and run.sample.is_file() else None


def _splits(
    entries: pd.DataFrame, sample: Path, radius_arcsec: float
) -> tuple[pd.Series, pd.Series]:
    """Split of the labelled sample with a galaxy near each entry, and whether it was trained on.

    Of several splits, the first of train, validation and test counts.
    """
    sky = Sky(entries["ra"], entries["dec"], radius_arcsec)
    pairs = match_tables([sample], sky, ["split"])
    place = pairs["split"].map({name: place for place, name in enumerate(SPLITS)})
    first = place.groupby(pairs["entry"]).min().reindex(entries.index)
    split = first.map(dict(enumerate(SPLITS))).fillna("not in the sample")
    return split, split.isin(training_splits(sample.parents[1] / "models")).astype(object)
