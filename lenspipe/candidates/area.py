"""The searched part of the sky: its area, and a multi-order coverage map."""

import astropy.units as u
import numpy as np
import pandas as pd
from astropy_healpix import healpix_to_lonlat, lonlat_to_healpix, neighbours
from mocpy import MOC

from lenspipe.config.paths import RunPaths
from lenspipe.products.manifests import read_manifest
from lenspipe.products.tables import read_table
from lenspipe.survey.bricks import BrickGrid

__all__ = ["area_deg2", "coverage_map", "format_area", "searched_bricks"]

#: HEALPix order of the map's smallest cells, which are 1.7 arcmin wide.
ORDER = 11

_COARSE_ORDER = 6

# Coarse cells processed at once, each with its 1,024 small cells.
_BLOCK = 1000


def searched_bricks(paths: RunPaths, grid: BrickGrid) -> pd.DataFrame:
    """Return the bricks that were searched, without those that failed.

    The columns are brick, brickid, ra, dec and width (degrees of right ascension); each brick is
    listed once, also where both regions contain it.
    """
    bricks = read_table(paths.bricks, "bricks", columns=["brick", "ra", "dec", "chunk"])
    failed = {
        brick
        for chunk in bricks["chunk"].unique()
        for brick, entry in read_manifest(paths.manifest("cutouts", chunk)).items()
        if entry["status"] == "failed"
    }
    bricks = bricks[~bricks["brick"].isin(failed)].drop_duplicates("brick", ignore_index=True)
    bricks["brickid"] = grid.brickids_at(bricks["ra"], bricks["dec"])
    bricks["width"] = grid.widths(bricks["dec"])
    return bricks.drop(columns="chunk")


def area_deg2(bricks: pd.DataFrame, brick_deg: float) -> float:
    """Area of bricks in square degrees, including masked and unexposed parts.

    Bricks are those of `searched_bricks`.
    """
    north, south = (
        np.radians(np.clip(bricks["dec"] + s * brick_deg / 2, -90, 90)) for s in (1, -1)
    )
    return float((bricks["width"] * np.degrees(np.sin(north) - np.sin(south))).sum())


def format_area(area: float) -> str:
    """Write an area in words: ``0.75 square degrees``, ``14,028 square degrees``."""
    return f"{area:,.2f} square degrees" if area < 10 else f"{area:,.0f} square degrees"


def coverage_map(bricks: pd.DataFrame, grid: BrickGrid) -> MOC:
    """Make a multi-order coverage map of bricks (https://www.ivoa.net/documents/MOC/).

    It contains all cells of order 11, 1.7 arcmin wide, whose centre is in one of the bricks. Bricks
    are those of `searched_bricks`.
    """
    is_searched = np.zeros(grid.brickids_at([0.0], [90.0])[0] + 1, bool)
    is_searched[bricks["brickid"]] = True
    # Cells four times as wide as a brick that contain a brick's centre, and their neighbours.
    centres = [bricks[name].to_numpy() * u.deg for name in ("ra", "dec")]
    coarse = np.unique(lonlat_to_healpix(*centres, 2**_COARSE_ORDER, order="nested"))
    with np.errstate(invalid="ignore"):  # a few cells have seven, and -1 for the eighth
        coarse = np.unique(np.append(neighbours(coarse, 2**_COARSE_ORDER, order="nested"), coarse))
    n_small = 4 ** (ORDER - _COARSE_ORDER)
    searched = [np.zeros(0, np.int64)]
    for block in np.array_split(coarse[coarse >= 0], len(coarse) // _BLOCK + 1):
        cells = (block[:, None] * n_small + np.arange(n_small)).ravel()
        ra, dec = healpix_to_lonlat(cells, 2**ORDER, order="nested")
        searched.append(cells[is_searched[grid.brickids_at(ra.deg, dec.deg)]])
    cells = np.concatenate(searched).astype(np.uint64)
    return MOC.from_healpix_cells(cells, np.full(len(cells), ORDER, np.uint8), max_depth=ORDER)
