"""The parent sample from sweep files: light versions of the catalogues, each of many bricks.

A sweep holds primary objects only, so the first cut of the audit removes nothing and its counts are
those that it leaves elsewhere. All else is as with Tractor files.
"""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.bricks import BRICK_DEG
from lenspipe.catalog import no_cuts, select_parent
from lenspipe.chunkwork import brick_table, fetched, try_bricks
from lenspipe.coadds import open_fits
from lenspipe.errors import LenspipeError, NotFoundError
from lenspipe.paths import is_remote
from lenspipe.progress import log
from lenspipe.retrieval import open_source
from lenspipe.tractor import catalog_columns, no_rows, tractor_table

__all__ = ["read_sweep", "select_from_sweeps", "sweep_names", "sweep_path"]

#: Folder of the sweeps in a region's folder, and width of a file's box in right ascension, degrees
#: (https://www.legacysurvey.org/dr9/files/#sweep-catalogs-region-sweep, and the other releases').
_SWEEPS = {
    "dr7": ("sweep/7.1", 10),
    "dr8": ("sweep/8.0", 10),
    "dr9": ("sweep/9.0", 10),
    "dr10": ("sweep/10.1", 5),
}
#: Height of a file's box, degrees.
_HEIGHT = 5
#: Rows read at a time; a row takes ~150 bytes as read, and several times that as a table.
_BLOCK = 100_000


def sweep_names(ra, dec, release):
    """Name the sweep files that a brick's objects may be in.

    Parameters
    ----------
    ra, dec : float
        Centre of the brick, degrees.
    release : lenspipe.survey.Release

    Returns
    -------
    list of str
        One, or up to four where the brick lies across edges of their boxes.
    """
    step = _SWEEPS[release.name][1]
    # The number of bricks in a row is even; one is the pole.
    edge = abs(dec) - BRICK_DEG / 2
    number = 2 * math.ceil(180 / BRICK_DEG * math.cos(math.radians(edge))) if edge < 89.8 else 1
    half = 180 / number
    # Bricks that only touch a box have nothing in it.
    lefts = range(math.floor((ra - half + 1e-6) / step), math.ceil((ra + half - 1e-6) / step))
    lows = range(
        max(math.floor((dec - BRICK_DEG / 2 + 1e-6) / _HEIGHT), -90 // _HEIGHT),
        min(math.ceil((dec + BRICK_DEG / 2 - 1e-6) / _HEIGHT), 90 // _HEIGHT),
    )

    def corner(ra, dec):
        return f"{ra:03d}{'m' if dec < 0 else 'p'}{abs(dec):03d}"

    corners = {(left * step % 360, low * _HEIGHT) for left in lefts for low in lows}
    return [
        f"sweep-{corner(ra0, dec0)}-{corner(ra0 + step, dec0 + _HEIGHT)}.fits"
        for ra0, dec0 in sorted(corners)
    ]


def sweep_path(settings, region, name):
    """Return where a sweep file is.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        ``survey.sweeps`` is the folder of the files; ``{region}`` in it stands for the region.
    region, name : str

    Returns
    -------
    str or pathlib.Path
        As from `lenspipe.paths.SurveyPaths`.
    """
    tree = settings.survey_paths.tree
    own = f"{tree}/{{region}}" if settings.release.region_folders else str(tree)
    folder = settings.survey.sweeps or f"{own}/{_SWEEPS[settings.release.name][0]}"
    path = f"{folder.rstrip('/').replace('{region}', region)}/{name}"
    return path if is_remote(path) else Path(path)


def read_sweep(local, where, brickids, bands):
    """Read the rows of some bricks.

    Parameters
    ----------
    local : str or path-like
        The file.
    where : str or path-like
        What it was fetched from, for errors.
    brickids : array of int
    bands : iterable of str

    Yields
    ------
    dict
        Name in lower case -> array, as `lenspipe.tractor.tractor_table` takes them; a block of
        rows at a time.

    Raises
    ------
    LenspipeError
        The file can't be read or lacks a column.
    """
    needed, optional = catalog_columns(bands)
    with fetched(where), open_fits(local) as fits:
        table = next((hdu for hdu in fits if hdu.get_exttype() == "BINARY_TBL"), None)
        names = {name.lower(): name for name in table.get_colnames()} if table else {}
        if absent := [name for name in needed if name not in names]:
            raise LenspipeError(
                f"{local}: no column {', '.join(absent)}; expected a sweep of the release in "
                "config key survey.release"
            )
        wanted = [name for name in needed + optional if name in names]
        columns = [names[name] for name in wanted]
        for start in range(0, table.get_nrows(), _BLOCK):
            ids = table[names["brickid"]][start : start + _BLOCK]
            rows = np.flatnonzero(np.isin(ids, brickids))
            if len(rows):
                block = table[columns][start + rows[0] : start + rows[-1] + 1][rows - rows[0]]
                block = block.astype(block.dtype.newbyteorder("="))
                yield {name: block[names[name]] for name in wanted}


def select_from_sweeps(settings, name, bricks):
    """Select the parent sample of bricks from sweep files.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    name : str
        Of the chunk or brick, for the log.
    bricks : list of tuple
        (brick, region).

    Returns
    -------
    results : dict
        Brick -> (selected, audit), as of `lenspipe.catalog.select_parent`; sorted by objid.
    failures : dict
        Brick -> `LenspipeError`.
    """
    places = brick_table(settings, [brick for brick, _ in bricks])
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
                parts[brick].append(select_parent(rows, settings.parent))
    return parts


def _join(settings, parts):
    """Put the parts of a brick together."""
    audit = no_cuts()
    for _, removed in parts:
        audit.iloc[:, 1:] += removed.iloc[:, 1:]
    tables = [table for table, _ in parts if len(table)] or [no_rows(settings.survey.bands)]
    return pd.concat(tables).sort_values("objid", ignore_index=True), audit
