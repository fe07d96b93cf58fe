"""The part of the sky that was searched: its area, and as a multi-order coverage map."""

import astropy.units as u
import numpy as np
from astropy_healpix import healpix_to_lonlat, lonlat_to_healpix, neighbours
from mocpy import MOC

from lenspipe.products.manifests import read_manifest
from lenspipe.products.tables import read_table
from lenspipe.survey.bricks import BRICK_DEG, brick_widths, brickids_at

__all__ = ["area_deg2", "coverage", "searched_bricks"]

#: Order of the smallest cells of the map, 1.7 arcmin wide.
ORDER = 11

_WIDE_ORDER = 6

# Wide cells whose 1,024 small ones are looked at at once.
_BLOCK = 1000


def searched_bricks(settings):
    """Return the bricks that were searched, without those that failed.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        brick, brickid, ra, dec, width (degrees of right ascension); each brick once, also where
        both regions have it.
    """
    bricks = read_table(settings.paths.bricks, "bricks", columns=["brick", "ra", "dec", "chunk"])
    failed = {
        brick
        for chunk in bricks["chunk"].unique()
        for brick, entry in read_manifest(settings.paths.manifest("cutouts", chunk)).items()
        if entry["status"] == "failed"
    }
    bricks = bricks[~bricks["brick"].isin(failed)].drop_duplicates("brick", ignore_index=True)
    bricks["brickid"] = brickids_at(bricks["ra"], bricks["dec"])
    bricks["width"] = brick_widths(bricks["dec"])
    return bricks.drop(columns="chunk")


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
        All cells of order 11, 1.7 arcmin wide, whose centre is in one of the bricks.
    """
    is_searched = np.zeros(brickids_at([0.0], [90.0])[0] + 1, bool)
    is_searched[bricks["brickid"]] = True
    # Cells four times as wide as a brick that hold a brick's middle, and their neighbours.
    places = [bricks[name].to_numpy() * u.deg for name in ("ra", "dec")]
    wide = np.unique(lonlat_to_healpix(*places, 2**_WIDE_ORDER, order="nested"))
    with np.errstate(invalid="ignore"):  # a few cells have seven, and -1 for the eighth
        wide = np.unique(np.append(neighbours(wide, 2**_WIDE_ORDER, order="nested"), wide))
    per_wide = 4 ** (ORDER - _WIDE_ORDER)
    found = [np.zeros(0, np.int64)]
    for block in np.array_split(wide[wide >= 0], len(wide) // _BLOCK + 1):
        cells = (block[:, None] * per_wide + np.arange(per_wide)).ravel()
        ra, dec = healpix_to_lonlat(cells, 2**ORDER, order="nested")
        found.append(cells[is_searched[brickids_at(ra.deg, dec.deg)]])
    cells = np.concatenate(found).astype(np.uint64)
    return MOC.from_healpix_cells(cells, np.full(len(cells), ORDER, np.uint8), max_depth=ORDER)
