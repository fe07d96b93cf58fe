"""The parent sample from sweep files: reduced versions of the catalogues, each of many bricks.

A sweep holds primary objects only, so the first cut of the audit removes nothing and its counts are
those that this cut leaves in Tractor files. Everything else is as with Tractor files.
"""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from lenspipe.config.data import Parent, Survey
from lenspipe.config.surveys.base import SurveyPaths
from lenspipe.parent.cuts import Selection, no_cuts, select_parent
from lenspipe.products.chunks import try_bricks
from lenspipe.products.tables import empty_parent
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.sweeps import read_sweep, sweep_names, sweep_path
from lenspipe.survey.tractor import tractor_table
from lenspipe.utils.errors import LenspipeError, NotFoundError
from lenspipe.utils.files import is_remote
from lenspipe.utils.progress import log

__all__ = ["select_from_sweeps"]


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
    brickids, files_of = defaultdict(list), {}
    for (brick, region), row in zip(bricks, positions.itertuples(), strict=True):
        names = sweep_names(row.ra, row.dec, release)
        files_of[brick] = [
            (sweep_path(paths, survey.sweeps, region, file), region) for file in names
        ]
        for file in files_of[brick]:
            brickids[file].append(row.brickid)

    def select(
        file: tuple[str | Path, str], ids: list[int]
    ) -> dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]]:
        """Select from one file: brick -> (selected, audit) of each block of rows."""
        (path, region), parts = file, defaultdict(list)
        with source.table(path) as local:
            for columns in read_sweep(local, path, ids, bands):
                table = tractor_table(columns, path, release, bands, region)
                for brick, rows in table.groupby("brick"):
                    parts[brick].append(select_parent(rows, parent, release))
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
        results[brick] = _join(parts, bands)
    return results, failures


def _is_absent(path: str | Path, error: LenspipeError) -> bool:
    return isinstance(error, NotFoundError) or not (is_remote(path) or Path(path).exists())


def _join(
    parts: list[tuple[pd.DataFrame, pd.DataFrame]], bands: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the selections from the parts of a brick."""
    audit = no_cuts()
    for _, part_audit in parts:
        audit.iloc[:, 1:] += part_audit.iloc[:, 1:]
    tables = [table for table, _ in parts if len(table)] or [empty_parent(bands)]
    return pd.concat(tables).sort_values("objid", ignore_index=True), audit
