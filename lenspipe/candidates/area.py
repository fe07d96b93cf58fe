"""The part of the sky that was searched: its area, and as a multi-order coverage map."""

import astropy.units as u
import numpy as np
import pandas as pd
from astropy_healpix import lonlat_to_healpix

from lenspipe.bricks import BRICK_DEG
from lenspipe.manifest import read_manifest
from lenspipe.targets import brick_widths

__all__ = ["area_deg2", "coverage", "searched_bricks"]

#: Order of the smallest cells of the map, 1.7 arcmin wide.
ORDER = 11
# Points a side of a brick at which cells are looked up: closer than cells are wide.
_POINTS = 20
_BLOCK = 10_000


def searched_bricks(settings):
    """Return the bricks that were searched, without those that failed.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    pandas.DataFrame
        brick, ra, dec, width (degrees of right ascension); each brick once, also where both regions
        have it.
    """
    bricks = pd.read_parquet(settings.paths.bricks, columns=["brick", "ra", "dec", "chunk"])
    failed = {
        brick
        for chunk in bricks["chunk"].unique()
        for brick, entry in read_manifest(settings.paths.manifest("cutouts", chunk)).items()
        if entry["status"] == "failed"
    }
    bricks = bricks[~bricks["brick"].isin(failed)].drop_duplicates("brick", ignore_index=True)
    return bricks.assign(width=brick_widths(bricks["dec"])).drop(columns="chunk")


def area_deg2(bricks):
    """Area of bricks in square degrees; what is masked or without exposures in them counts.

    Parameters
    ----------
    bricks : pandas.DataFrame
        As of `searched_bricks`.

    Returns
    -------
    float
    """
    north, south = (
        np.radians(np.clip(bricks["dec"] + s * BRICK_DEG / 2, -90, 90)) for s in (1, -1)
    )
    return float((bricks["width"] * np.degrees(np.sin(north) - np.sin(south))).sum())


def coverage(bricks):
    """Make a multi-order coverage map of bricks (https://www.ivoa.net/documents/MOC/).

    Parameters
    ----------
    bricks : pandas.DataFrame
        As of `searched_bricks`.

    Returns
    -------
    mocpy.MOC
        All cells of order 11 that reach into a brick.
    """
    from mocpy import MOC

    steps = np.linspace(-0.5, 0.5, _POINTS)
    cells = [np.zeros(0, np.int64)]
    for start in range(0, len(bricks), _BLOCK):
        block = bricks.iloc[start : start + _BLOCK]
        ra, dec, width = (block[name].to_numpy()[:, None, None] for name in ("ra", "dec", "width"))
        ra, dec = np.broadcast_arrays(
            np.mod(ra + steps[:, None] * width, 360), np.clip(dec + steps * BRICK_DEG, -90, 90)
        )
        found = lonlat_to_healpix(ra.ravel() * u.deg, dec.ravel() * u.deg, 2**ORDER, order="nested")
        cells.append(np.unique(found))
    cells = np.unique(np.concatenate(cells)).astype(np.uint64)
    return MOC.from_healpix_cells(cells, np.full(len(cells), ORDER, np.uint8), max_depth=ORDER)
