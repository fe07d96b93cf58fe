"""The parent sample from sweep files: reduced versions of the catalogues, each of many bricks.

A sweep holds primary objects only, so the first cut of the audit removes nothing, its counts are
those that this cut leaves in Tractor files, and the audit says so. Everything else is as with
Tractor files.
"""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from lenspipe.config.data import Parent, Survey
from lenspipe.config.surveys.base import SurveyPaths
from lenspipe.parent.cuts import Selection, check_sources, no_cuts, select_parent
from lenspipe.products.chunks import try_bricks
from lenspipe.products.tables import add_audits, empty_parent
from lenspipe.retrieval.errors import fetched
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.sweeps import read_sweep, sweep_names, sweep_path
from lenspipe.survey.tractor import tractor_table
from lenspipe.utils.errors import LenspipeError, NotFoundError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import reading
from lenspipe.utils.progress import log

__all__ = ["select_from_sweeps", "sweeps_of_bricks"]


def select_from_sweeps(
    bricks: list[tuple[str, str]],
    positions: pd.DataFrame,
    source: LocalSource,
    paths: SurveyPaths,
    survey: Survey,
    parent: Parent,
    *,
    name: str,
) -> Selection:
    """Select the parent sample of bricks from sweep files.

    Parameters
    ----------
    bricks
        (brick, region).
    positions
        As returned by `lenspipe.products.tables.brick_table`.
    name
        Of the chunk or brick, for the log.
    """
    release, bands = paths.release, survey.bands
    files_of = sweeps_of_bricks(bricks, positions, paths, survey.sweeps)
    brickids = defaultdict(list)
    for files, brickid in zip(files_of.values(), positions["brickid"], strict=True):
        for file in files:
            brickids[file].append(brickid)
    brick_of = dict(zip(positions["brickid"], positions.index, strict=True))

    def select(
        file: tuple[str | Path, str], ids: list[int]
    ) -> dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]]:
        """Select from one file: brick -> (selected, audit) of each block of rows."""
        (path, region), parts = file, defaultdict(list)
        sums = paths.checksums(path, paths.release.sweep_folder(region))
        with source.table(path, sums) as local, fetched(path), reading(path):
            for columns in read_sweep(local, path, ids, bands):
                table = tractor_table(columns, path, release, bands, region)
                for number, rows in table.groupby("brickid"):
                    parts[brick_of[number]].append(select_parent(rows, parent, release))
        return parts

    description = f"parent sample of {name}, sweep files"
    read, unread = try_bricks(list(brickids.items()), select, description)
    results, failures = {}, {}
    for brick, files in files_of.items():
        failed = [file for file in files if file in unread]
        # A box without objects has no file.
        absent = [file for file in failed if _is_absent(file[0], unread[file])]
        if failed and (len(absent) < len(failed) or len(absent) == len(files)):
            first = next((file for file in failed if file not in absent), failed[0])
            failures[brick] = unread[first]
            continue
        for path, _ in absent:
            log.info("brick %s: no such file, so no objects: %s", brick, path)
        parts = [part for file in files for part in read.get(file, {}).get(brick, ())]
        selected, audit = _join(parts, bands)
        try:
            # They may come from several blocks of rows.
            check_sources(selected, brick, files[0][0])
        except LenspipeError as error:
            failures[brick] = error
            continue
        results[brick] = selected, audit
    return results, failures


def sweeps_of_bricks(
    bricks: list[tuple[str, str]],
    positions: pd.DataFrame,
    paths: SurveyPaths,
    sweeps: str | None,
) -> dict[str, list[tuple[str | Path, str]]]:
    """Return the sweep files that each brick's objects may be in: brick -> (path, region) of each.

    Parameters
    ----------
    bricks, positions
        As in `select_from_sweeps`.
    sweeps
        ``survey.sweeps``.
    """
    return {
        brick: [
            (sweep_path(paths, sweeps, region, file), region)
            for file in sweep_names(row.ra, row.dec, paths.release)
        ]
        for (brick, region), row in zip(bricks, positions.itertuples(), strict=True)
    }


def _is_absent(path: str | Path, error: LenspipeError) -> bool:
    return isinstance(error, NotFoundError) or not (is_remote(path) or Path(path).exists())


def _join(
    parts: list[tuple[pd.DataFrame, pd.DataFrame]], bands: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the selections from the parts of a brick."""
    audit = no_cuts()
    for _, part_audit in parts:
        audit = add_audits(audit, part_audit)
    audit.loc[0, "not_counted"] = "objects that are not primary: sweeps have none"
    tables = [table for table, _ in parts if len(table)] or [empty_parent(bands)]
    return pd.concat(tables).sort_values("objid", ignore_index=True), audit
