"""Why entries of a catalogue have no score, as the run's own files and the survey's tell it."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lenspipe.parent.cuts import CUTS
from lenspipe.parent.tractor import tractor_of_brick
from lenspipe.products.chunks import try_bricks
from lenspipe.products.manifests import read_manifest
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.bricks import bricks_at
from lenspipe.utils.crossmatch import Sky, match_tables
from lenspipe.utils.files import is_remote

__all__ = ["REASONS", "explain_missing"]

FOOTPRINT, LATER, FAILED = "not in the footprint", "chunk not done", "brick failed"

ABSENT, UNKNOWN = "no catalogue object", "no object or cut, which is not known"

OTHERWISE, NO_CUTOUT = "cut by other settings", "no cutout"

#: What may become of an entry, in the order of the steps of a search.
REASONS = (
    *(FOOTPRINT, LATER, FAILED, UNKNOWN, ABSENT),
    *(f"cut: {cut}" for cut in CUTS),
    *(OTHERWISE, NO_CUTOUT, "not scored", "no score", "flagged", "below threshold", "passed"),
)


class _Bricks(NamedTuple):
    """What a run knows of its bricks: index brick; region, chunk; entries of two manifests."""

    table: pd.DataFrame
    parent: dict
    cutouts: dict


class _Fate(NamedTuple):
    """What became of an entry, and the object that came furthest."""

    reason: str
    detail: str = ""
    id: str = ""
    separation_arcsec: float = np.nan


def explain_missing(missing, run, radius_arcsec, settings=None):
    """Say of each entry without a scored galaxy how far a search came with it.

    Of several objects within the radius the one that came furthest counts. Which cut removed it is
    read from the survey's Tractor files, of the bricks of such entries only: local ones, or remote
    ones where the run read them, too.

    Parameters
    ----------
    missing : pandas.DataFrame
        Columns ra, dec (degrees); any index.
    run : lenspipe.config.paths.RunPaths
    radius_arcsec : float
    settings : lenspipe.config.settings.Settings, optional
        Of the run. Without them the survey is not read.

    Returns
    -------
    pandas.DataFrame
        Index of `missing`; reason (str; one of `REASONS`), detail (str; what is known of a failed
        brick), id (str) and separation_arcsec (float64) of the object, empty and NaN without one.

    Raises
    ------
    LenspipeError
        A table of the run can't be read.
    """
    ra, dec = (missing[name].to_numpy(np.float64) for name in ("ra", "dec"))
    near = _bricks_near(ra, dec, radius_arcsec)
    bricks = _read_bricks(run, {name for names in near for name in names})
    sky = Sky(ra, dec, radius_arcsec)
    fates = _from_parent(run, bricks, sky)
    for entry in sorted(set(range(len(missing))) - set(fates)):
        if fate := _of_brick(near[entry][0], run, bricks):
            fates[entry] = fate
    rest = {entry: near[entry] for entry in range(len(missing)) if entry not in fates}
    fates |= _from_survey(rest, bricks, sky, settings)
    ordered = [fates[entry] for entry in range(len(missing))]
    return pd.DataFrame(ordered, index=missing.index, columns=_Fate._fields)


def _bricks_near(ra, dec, radius_arcsec):
    """Bricks that an object within the radius of each position may be in, its own first."""
    height = radius_arcsec / 3600
    width = np.minimum(height / np.maximum(np.cos(np.radians(dec)), 1e-9), 180)
    names = [
        bricks_at(ra + i * width, np.clip(dec + j * height, -90, 90))[0].tolist()
        for i in (0, -1, 1)
        for j in (0, -1, 1)
    ]
    return [list(dict.fromkeys(own)) for own in zip(*names, strict=True)]


def _read_bricks(run, names):
    """What the run knows of some bricks; those that are not in it are left out."""
    table = pd.read_parquet(run.bricks, columns=["brick", "region", "chunk"]).set_index("brick")
    table = table[table.index.isin(names)]
    found = _Bricks(table, {}, {})
    for chunk in sorted(set(table["chunk"])):
        found.parent.update(read_manifest(run.manifest("parent", chunk)))
        found.cutouts.update(read_manifest(run.manifest("cutouts", chunk)))
    return found


def _from_parent(run, bricks, sky):
    """Entries whose galaxy is in the parent sample, but not among the scores: entry -> fate."""
    chunks = sorted(set(bricks.table["chunk"]))
    tables = [path for path in map(run.parent, chunks) if path.exists()]
    pairs = match_tables(tables, sky, ["id", "brick"])
    nearest = pairs.sort_values(["entry", "separation_arcsec"]).drop_duplicates("entry")
    fates = {}
    for row in nearest.itertuples():
        made = bricks.cutouts.get(row.brick, {})
        reason = NO_CUTOUT
        if made.get("status") == "failed":
            reason = FAILED
        elif not made or not run.scores(bricks.table["chunk"].get(row.brick)).exists():
            reason = LATER
        fates[row.entry] = _Fate(reason, made.get("reason", ""), row.id, row.separation_arcsec)
    return fates


def _of_brick(brick, run, bricks):
    """Fate of an entry without a galaxy in the parent sample; None if its brick was searched."""
    if brick not in bricks.table.index:
        return _Fate(FOOTPRINT)
    entry = bricks.parent.get(brick)
    if not entry or not run.parent(bricks.table.loc[brick, "chunk"]).exists():
        return _Fate(LATER)
    return _Fate(FAILED, entry.get("reason", "")) if entry["status"] == "failed" else None


def _from_survey(near, bricks, sky, settings):
    """Entries (with the bricks near them) that were searched in vain: which cut, if any."""
    wanted = sorted({name for names in near.values() for name in names} & {*bricks.table.index})
    found, unread = {}, set(wanted)
    if wanted and _is_readable(settings):
        places = [(name, bricks.table.loc[name, "region"]) for name in wanted]
        found, unread = _read_survey(settings, places, sky)
    objects = [row for table in found.values() for row in table.itertuples()]
    # The last one of an entry stays: that with the latest cut, of those the nearest.
    objects.sort(key=lambda row: (row.cut, -row.separation_arcsec))
    furthest = {row.entry: row for row in objects}
    names = [*(f"cut: {cut}" for cut in CUTS), OTHERWISE]
    fates = {}
    for entry, bricks_near in near.items():
        if row := furthest.get(entry):
            fates[entry] = _Fate(names[row.cut], "", row.id, row.separation_arcsec)
        else:
            fates[entry] = _Fate(ABSENT if unread.isdisjoint(bricks_near) else UNKNOWN)
    return fates


def _is_readable(settings):
    """Whether the survey's Tractor files can be asked without fetching what the run did not."""
    if settings is None or settings.targets:
        return False
    return settings.survey.catalogs == "tractor" or not is_remote(settings.survey_paths.tree)


def _read_survey(settings, places, sky):
    """Objects near entries, by brick, and the names of the bricks that could not be read."""
    paths = settings.survey_paths
    with open_source(settings.retrieval, settings.paths.hosts, paths.tree) as source:

        def work(brick, region):
            table = tractor_of_brick(source, paths, brick, region, settings.survey.bands)
            rows, entries, separation = sky.pairs(table["ra"], table["dec"])
            objects = table.iloc[rows]
            return pd.DataFrame(
                {
                    "entry": entries,
                    "id": objects["id"].to_numpy(),
                    "separation_arcsec": separation,
                    "cut": _first_cut(objects, settings.parent, settings.release),
                }
            )

        remote = is_remote(settings.survey_paths.tree)
        found, failures = try_bricks(
            places,
            work,
            "catalogues of entries without a score, bricks",
            threads=settings.retrieval.connections if remote else 1,
            status=source.traffic,
        )
    return found, set(failures)


def _first_cut(table, parent, release):
    """Place in `CUTS` of the cut that removes each row; their number if none does."""
    first = np.full(len(table), len(CUTS))
    for place, passes in reversed(list(enumerate(CUTS.values()))):
        first[~np.asarray(passes(table, parent, release), bool)] = place
    return first
