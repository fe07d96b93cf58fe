"""The parent sample from sweep files: light versions of the catalogues, each of many bricks.

A sweep holds primary objects only, so the first cut of the audit removes nothing and its counts are
those that it leaves elsewhere. All else is as with Tractor files.
"""

from collections import defaultdict

import pandas as pd

from lenspipe.parent.cuts import no_cuts, select_parent
from lenspipe.products.bricks import brick_table
from lenspipe.products.chunks import try_bricks
from lenspipe.products.parent import empty_parent
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.sweeps import read_sweep, sweep_names, sweep_path
from lenspipe.survey.tractor import tractor_table
from lenspipe.utils.errors import NotFoundError
from lenspipe.utils.files import is_remote
from lenspipe.utils.progress import log

__all__ = ["select_from_sweeps"]


def select_from_sweeps(settings, name, bricks):
    """Select the parent sample of bricks from sweep files.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    name : str
        Of the chunk or brick, for the log.
    bricks : list of tuple
        (brick, region).

    Returns
    -------
    results : dict
        Brick -> (selected, audit), as of `lenspipe.parent.cuts.select_parent`; sorted by objid.
    failures : dict
        Brick -> `LenspipeError`.
    """
    places = brick_table(settings.paths.bricks, [brick for brick, _ in bricks])
    wanted, files_of = defaultdict(list), {}
    for (brick, region), place in zip(bricks, places.itertuples(), strict=True):
        names = sweep_names(place.ra, place.dec, settings.release)
        files_of[brick] = [(sweep_path(settings, region, file), region) for file in names]
        for file in files_of[brick]:
            wanted[file].append(place.brickid)
    with open_source(settings) as source:

        def work(file, brickids):
            return _select(settings, source, *file, brickids)

        read, unread = try_bricks(
            list(wanted.items()), work, f"parent sample of {name}, sweep files"
        )
    results, failures = {}, {}
    for brick, files in files_of.items():
        parts = [part for file in files for part in read.get(file, {}).get(brick, ())]
        bad = [file for file in files if file in unread]
        # There is no file of a box without objects.
        absent = [file for file in bad if _is_absent(file[0], unread[file])]
        if bad and (len(absent) < len(bad) or len(absent) == len(files)):
            failures[brick] = unread[next((file for file in bad if file not in absent), bad[0])]
            continue
        for path, _ in absent:
            log.info("brick %s: taken to have nothing in %s: no such file", brick, path)
        results[brick] = _join(settings, parts)
    return results, failures


def _is_absent(path, error):
    return isinstance(error, NotFoundError) or not (is_remote(path) or path.exists())


def _select(settings, source, path, region, brickids):
    """Select from one file: brick -> list of (selected, audit), one for each block of rows."""
    parts, bands = defaultdict(list), settings.survey.bands
    with source.table(path) as local:
        for found in read_sweep(local, path, brickids, bands):
            table = tractor_table(found, path, settings.release, bands, region)
            for brick, rows in table.groupby("brick"):
                parts[brick].append(select_parent(rows, settings.parent, settings.release))
    return parts


def _join(settings, parts):
    """Put the parts of a brick together."""
    audit = no_cuts()
    for _, removed in parts:
        audit.iloc[:, 1:] += removed.iloc[:, 1:]
    tables = [table for table, _ in parts if len(table)] or [empty_parent(settings.survey.bands)]
    return pd.concat(tables).sort_values("objid", ignore_index=True), audit
