"""Sweep files: which there are, and how they are read."""

import math
from pathlib import Path

import numpy as np

from lenspipe.retrieval.errors import fetched
from lenspipe.survey.tractor import catalog_columns
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import open_fits

__all__ = ["read_sweep", "sweep_names", "sweep_path"]

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
    release : lenspipe.config.surveys.base.Release

    Returns
    -------
    list of str
        One, or up to four where the brick lies across edges of their boxes.
    """
    step, height = release.sweep_width_deg, release.brick_deg
    # The number of bricks in a row is even; one is the pole.
    edge = abs(dec) - height / 2
    number = 2 * math.ceil(180 / height * math.cos(math.radians(edge))) if edge < 89.8 else 1
    half = 180 / number
    # Bricks that only touch a box have nothing in it.
    lefts = range(math.floor((ra - half + 1e-6) / step), math.ceil((ra + half - 1e-6) / step))
    lows = range(
        max(math.floor((dec - height / 2 + 1e-6) / _HEIGHT), -90 // _HEIGHT),
        min(math.ceil((dec + height / 2 - 1e-6) / _HEIGHT), 90 // _HEIGHT),
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
    settings : lenspipe.config.settings.Settings
        ``survey.sweeps`` is the folder of the files; ``{region}`` in it stands for the region.
    region, name : str

    Returns
    -------
    str or pathlib.Path
        As from `lenspipe.config.paths.SurveyPaths`.
    """
    tree = settings.survey_paths.tree
    folder = settings.survey.sweeps or f"{tree}/{settings.release.sweep_folder(region)}"
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
        Name in lower case -> array, as `lenspipe.survey.tractor.tractor_table` takes them; a block
        of rows at a time.

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
