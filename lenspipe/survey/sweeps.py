"""Sweep files: their names and how they are read."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.retrieval.errors import fetched
from lenspipe.survey.bricks import brick_grid
from lenspipe.survey.tractor import catalog_columns
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import check_sums, open_fits, reading

__all__ = ["read_sweep", "sweep_names", "sweep_path"]

#: Rows read at a time; a row takes ~150 bytes as read, and several times that as a table.
_BLOCK_ROWS = 100_000


def sweep_names(ra: float, dec: float, release: Release) -> list[str]:
    """Name the sweep files that a brick's objects may be in.

    Parameters
    ----------
    ra, dec
        Centre of the brick, degrees.

    Returns
    -------
    list of str
        One, or up to four if the brick extends across edges of their boxes.
    """
    (step, rise), height = release.sweep_box_deg, release.brick_deg
    half = brick_grid(height).widths(dec) / 2
    # Bricks that only touch a box have nothing in it.
    lefts = range(math.floor((ra - half + 1e-6) / step), math.ceil((ra + half - 1e-6) / step))
    lows = range(
        max(math.floor((dec - height / 2 + 1e-6) / rise), -90 // rise),
        min(math.ceil((dec + height / 2 - 1e-6) / rise), 90 // rise),
    )

    def corner(ra: int, dec: int) -> str:
        return f"{ra:03d}{'m' if dec < 0 else 'p'}{abs(dec):03d}"

    corners = {(left * step % 360, low * rise) for left in lefts for low in lows}
    return [
        f"sweep-{corner(ra0, dec0)}-{corner(ra0 + step, dec0 + rise)}.fits"
        for ra0, dec0 in sorted(corners)
    ]


def sweep_path(paths: SurveyPaths, sweeps: str | None, region: str, name: str) -> str | Path:
    """Return the path of a sweep file.

    Parameters
    ----------
    sweeps
        ``survey.sweeps``: folder of the files if it is not that of the release below the tree;
        ``{region}`` in it stands for the region.
    """
    folder = sweeps or f"{paths.tree}/{paths.release.sweep_folder(region)}"
    path = f"{folder.rstrip('/').replace('{region}', region)}/{name}"
    return path if is_remote(path) else Path(path)


def read_sweep(
    local: str | os.PathLike[str],
    path: str | os.PathLike[str],
    brickids: Sequence[int],
    bands: Iterable[str],
) -> Iterator[dict[str, np.ndarray]]:
    """Read the rows of some bricks.

    Parameters
    ----------
    local
        The file.
    path
        The path or address from which it was fetched, for errors.

    Yields
    ------
    dict
        Name in lower case -> array, as `lenspipe.survey.tractor.tractor_table` takes them, for one
        block of rows at a time.

    Raises
    ------
    LenspipeError
        The file cannot be read or lacks a column.
    """
    needed, optional = catalog_columns(bands)
    with fetched(path), reading(local), open_fits(local) as fits:
        table = next((hdu for hdu in fits if hdu.get_exttype() == "BINARY_TBL"), None)
        names = {name.lower(): name for name in table.get_colnames()} if table else {}
        absent = [name for name in needed if name not in names]
        if table is None or absent:
            raise LenspipeError(
                f"{local}: no column {', '.join(absent)}; expected a sweep of the release in "
                "config key survey.release"
            )
        check_sums(table, table.read_header(), local)
        available = [name for name in needed + optional if name in names]
        columns = [names[name] for name in available]
        for start in range(0, table.get_nrows(), _BLOCK_ROWS):
            ids = table[names["brickid"]][start : start + _BLOCK_ROWS]
            rows = np.flatnonzero(np.isin(ids, brickids))
            if len(rows):
                block = table[columns][start + rows[0] : start + rows[-1] + 1][rows - rows[0]]
                block = block.astype(block.dtype.newbyteorder("="))
                yield {name: block[names[name]] for name in available}
