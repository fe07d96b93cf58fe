"""Why entries of a catalogue have no score, according to the files of the run and of the survey."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lenspipe.config.data import Parent, Retrieval, Survey
from lenspipe.config.paths import RunPaths
from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.parent.cuts import CUTS
from lenspipe.parent.tractor import tractor_of_brick
from lenspipe.products.chunks import try_bricks
from lenspipe.products.manifests import read_manifest
from lenspipe.products.tables import read_table
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.bricks import BrickGrid, brick_grid
from lenspipe.utils.crossmatch import Sky, match_tables
from lenspipe.utils.files import is_remote

__all__ = ["REASONS", "TractorFiles", "explain_missing"]

FOOTPRINT, LATER, FAILED = "not in the footprint", "chunk not done", "brick failed"
ABSENT, UNKNOWN = "no catalogue object", "no object or cut, which is not known"
OTHERWISE, NO_CUTOUT = "cut by other settings", "no cutout"

#: Possible outcomes for an entry, in the order of the steps of a search.
REASONS = (
    *(FOOTPRINT, LATER, FAILED, UNKNOWN, ABSENT),
    *(f"cut: {cut}" for cut in CUTS),
    *(OTHERWISE, NO_CUTOUT, "not scored", "no score", "flagged", "below threshold", "passed"),
)


class _Bricks(NamedTuple):
    """Bricks of a run: table (index brick; region, chunk) and entries of two manifests."""

    table: pd.DataFrame
    parent: dict[str, dict]
    cutouts: dict[str, dict]


class TractorFiles(NamedTuple):
    """The survey's Tractor files, the cuts of the parent sample, and how files are fetched."""

    paths: SurveyPaths
    survey: Survey
    parent: Parent
    retrieval: Retrieval
    hosts: Path

    @property
    def is_remote(self) -> bool:
        """Whether they are fetched from a server."""
        return is_remote(self.paths.tree)


class _Fate(NamedTuple):
    """Outcome for an entry, and the object that reached the latest step of the search."""

    reason: str
    detail: str = ""
    id: str = ""
    separation_arcsec: float = np.nan


def explain_missing(
    missing: pd.DataFrame,
    run: RunPaths,
    radius_arcsec: float,
    release: Release,
    survey: TractorFiles | None = None,
) -> pd.DataFrame:
    """Find the step of the search at which each entry without a scored galaxy was lost.

    Of several objects within the radius the one that reached the latest step counts. Which cut
    removed it is determined from the survey's Tractor files of the bricks of such entries, if they
    are given. The result has the index of `missing` (columns ra, dec in degrees); reason (str; one
    of `REASONS`), detail (str; why a brick failed), id (str) and separation_arcsec (float64) of the
    object, empty and NaN without one.

    Raises
    ------
    LenspipeError
        A table of the run can't be read.
    """
    ra, dec = (missing[name].to_numpy(np.float64) for name in ("ra", "dec"))
    near = _nearby_bricks(ra, dec, radius_arcsec, brick_grid(release.brick_deg))
    bricks = _read_bricks(run, {name for names in near for name in names})
    sky = Sky(ra, dec, radius_arcsec)
    fates = _from_parent(run, bricks, sky)
    for entry in sorted(set(range(len(missing))) - set(fates)):
        if fate := _from_brick(near[entry][0], run, bricks):
            fates[entry] = fate
    rest = {entry: near[entry] for entry in range(len(missing)) if entry not in fates}
    fates |= _from_survey(rest, bricks, sky, survey)
    ordered = [fates[entry] for entry in range(len(missing))]
    return pd.DataFrame(ordered, index=missing.index, columns=_Fate._fields)


def _nearby_bricks(
    ra: np.ndarray, dec: np.ndarray, radius_arcsec: float, grid: BrickGrid
) -> list[list[str]]:
    """Bricks that may contain an object within the radius; first that of the position itself."""
    height = radius_arcsec / 3600
    width = np.minimum(height / np.maximum(np.cos(np.radians(dec)), 1e-9), 180)
    names = [
        grid.bricks_at(ra + i * width, np.clip(dec + j * height, -90, 90))[0].tolist()
        for i in (0, -1, 1)
        for j in (0, -1, 1)
    ]
    return [list(dict.fromkeys(bricks)) for bricks in zip(*names, strict=True)]


def _read_bricks(run: RunPaths, names: Iterable[str]) -> _Bricks:
    """Read the run's records of some bricks; those that are not in the run are left out."""
    table = read_table(run.bricks, "bricks", columns=["brick", "region", "chunk"])
    table = table.set_index("brick")
    table = table[table.index.isin(names)]
    bricks = _Bricks(table, {}, {})
    for chunk in sorted(set(table["chunk"])):
        bricks.parent.update(read_manifest(run.manifest("parent", chunk)))
        bricks.cutouts.update(read_manifest(run.manifest("cutouts", chunk)))
    return bricks


def _from_parent(run: RunPaths, bricks: _Bricks, sky: Sky) -> dict[int, _Fate]:
    """Fates of entries whose galaxy is in the parent sample, but not among the scores."""
    chunks = sorted(set(bricks.table["chunk"]))
    tables = [path for path in map(run.parent, chunks) if path.exists()]
    pairs = match_tables(tables, sky, ["id", "brick"])
    nearest = pairs.sort_values(["entry", "separation_arcsec"]).drop_duplicates("entry")
    fates = {}
    for row in nearest.itertuples():
        cutouts = bricks.cutouts.get(row.brick, {})
        reason = NO_CUTOUT
        if cutouts.get("status") == "failed":
            reason = FAILED
        elif not cutouts or not run.scores(bricks.table["chunk"].get(row.brick)).exists():
            reason = LATER
        fates[row.entry] = _Fate(reason, cutouts.get("reason", ""), row.id, row.separation_arcsec)
    return fates


def _from_brick(brick: str, run: RunPaths, bricks: _Bricks) -> _Fate | None:
    """Fate of an entry without a galaxy in the parent sample; None if its brick was searched."""
    if brick not in bricks.table.index:
        return _Fate(FOOTPRINT)
    entry = bricks.parent.get(brick)
    if not entry or not run.parent(bricks.table.loc[brick, "chunk"]).exists():
        return _Fate(LATER)
    return _Fate(FAILED, entry.get("reason", "")) if entry["status"] == "failed" else None


def _from_survey(
    near: Mapping[int, list[str]], bricks: _Bricks, sky: Sky, survey: TractorFiles | None
) -> dict[int, _Fate]:
    """Fates of entries (with the bricks near them) without a galaxy in their searched brick."""
    names = sorted({name for names in near.values() for name in names} & {*bricks.table.index})
    tables: dict[str, pd.DataFrame] = {}
    unread = set(names)
    if names and survey:
        places = [(name, bricks.table.loc[name, "region"]) for name in names]
        tables, unread = _read_survey(survey, places, sky)
    objects = [row for table in tables.values() for row in table.itertuples()]
    # The last object of an entry is kept: that with the latest cut, of those the nearest.
    objects.sort(key=lambda row: (row.cut, -row.separation_arcsec))
    furthest = {row.entry: row for row in objects}
    reasons = [*(f"cut: {cut}" for cut in CUTS), OTHERWISE]
    fates = {}
    for entry, bricks_near in near.items():
        if row := furthest.get(entry):
            fates[entry] = _Fate(reasons[row.cut], "", row.id, row.separation_arcsec)
        else:
            fates[entry] = _Fate(ABSENT if unread.isdisjoint(bricks_near) else UNKNOWN)
    return fates


def _read_survey(
    survey: TractorFiles, places: list[tuple[str, str]], sky: Sky
) -> tuple[dict[str, pd.DataFrame], set[str]]:
    """Objects near entries, by brick, and the names of the bricks that could not be read."""
    paths = survey.paths
    with open_source(survey.retrieval, survey.hosts, paths.tree) as source:

        def read(brick: str, region: str) -> pd.DataFrame:
            table = tractor_of_brick(source, paths, brick, region, survey.survey.bands)
            table = table[np.isfinite(table[["ra", "dec"]]).all(axis=1)]
            rows, entries, separation = sky.pairs(table["ra"], table["dec"])
            objects = table.iloc[rows]
            return pd.DataFrame(
                {
                    "entry": entries,
                    "id": objects["id"].to_numpy(),
                    "separation_arcsec": separation,
                    "cut": _first_cut(objects, survey.parent, paths.release),
                }
            )

        tables, failures = try_bricks(
            places,
            read,
            "catalogues of entries without a score, bricks",
            threads=survey.retrieval.connections if survey.is_remote else 1,
            status=source.traffic,
        )
    return tables, set(failures)


def _first_cut(table: pd.DataFrame, parent: Parent, release: Release) -> np.ndarray:
    """Index in `CUTS` of the first cut that removes each row; ``len(CUTS)`` if none does."""
    first = np.full(len(table), len(CUTS))
    for place, passes in reversed(list(enumerate(CUTS.values()))):
        first[~np.asarray(passes(table, parent, release), bool)] = place
    return first
