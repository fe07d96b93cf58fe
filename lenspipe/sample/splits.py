"""Division of the sky between training, validation and test."""

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.products.sample import SPLITS

__all__ = ["assign_cells", "cells_of_bricks", "on_two_sides", "split_bricks"]


def assign_cells(lenses, galaxies, fractions, rng):
    """Give each cell on the sky to one split, so that each kind of lens divides as fractions say.

    Cells are shuffled, those with the most lenses go first, and each goes to the split that lacks
    most of what the cell holds; kinds count alike, however rare. The last cells with lenses are
    kept for splits that would have none. Then cells without lenses go to the split that lacks most
    galaxies. This is the stratification of Sechidis, Tsoumakas & Vlahavas
    (2011, ECML PKDD, sect. 3) for cells that hold several examples.

    Parameters
    ----------
    lenses : array of int, (N, K)
        How many lenses of each kind there are in a cell.
    galaxies : array of int, (N, J)
        The same of galaxies.
    fractions : tuple of float
        Part of each split; they add up to 1. A split without a part gets no cell.
    rng : numpy.random.Generator
        Decides among equals.

    Returns
    -------
    ndarray of int, (N,)
        Index of each cell's split.
    """
    lenses, galaxies, fractions = (np.asarray(a, float) for a in (lenses, galaxies, fractions))
    order = rng.permutation(len(lenses))
    order = order[np.argsort(-lenses[order].sum(axis=1), kind="stable")]
    split = np.full(len(lenses), -1)
    lacking = [fractions[:, None] * table.sum(axis=0) for table in (lenses, galaxies)]
    weight = [1 / np.maximum(table.sum(axis=0), 1) ** 2 for table in (lenses, galaxies)]
    n_left = int((lenses.sum(axis=1) > 0).sum())
    without = set(np.flatnonzero(fractions > 0))
    for cell in order:
        kind, held = (0, lenses[cell]) if lenses[cell].any() else (1, galaxies[cell])
        lacks = lacking[kind] @ (held * weight[kind])
        allowed = fractions > 0
        if 0 < n_left <= len(without):
            allowed = np.isin(np.arange(len(fractions)), list(without))
        split[cell] = np.argmax(np.where(allowed, lacks, -np.inf))
        if kind == 0:
            n_left -= 1
            without.discard(split[cell])
        lacking[0][split[cell]] -= lenses[cell]
        lacking[1][split[cell]] -= galaxies[cell]
    return split


def split_bricks(settings, bricks, galaxies, lenses):
    """Divide bricks between splits by the HEALPix cell (nested) of their centre.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    bricks : pandas.DataFrame
        Columns brick, ra, dec (degrees).
    galaxies : pandas.DataFrame
        Columns brick and region.
    lenses : pandas.DataFrame
        Columns brick, region and grade: lenses of each grade and region are divided alike.

    Returns
    -------
    dict
        Brick -> split. The same cells and lenses are divided alike whatever else changes.
    """
    cell_of = cells_of_bricks(settings, bricks)
    every = np.unique(cell_of)

    def count(table, kinds):
        cell = table["brick"].map(cell_of)
        return pd.crosstab(cell, [table[kind] for kind in kinds]).reindex(every, fill_value=0)

    rng = np.random.default_rng([settings.seed, 20])
    split = assign_cells(
        count(lenses, ["grade", "region"]),
        count(galaxies, ["region"]),
        settings.sample.fractions,
        rng,
    )
    return dict(cell_of.map(pd.Series(np.array(SPLITS)[split], every)))


def cells_of_bricks(settings, bricks):
    """Cell of the sky that each brick goes with, whichever split that is.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    bricks : pandas.DataFrame
        Columns brick, ra, dec (degrees).

    Returns
    -------
    pandas.Series of int
        Nested HEALPix cells of ``sample.split_nside``; the index is the brick.
    """
    grid = HEALPix(settings.sample.split_nside, order="nested")
    cells = grid.lonlat_to_healpix(
        bricks["ra"].to_numpy() * u.deg, bricks["dec"].to_numpy() * u.deg
    )
    return pd.Series(cells, bricks["brick"].to_numpy())


def on_two_sides(settings, table, lenses):
    """Tell which galaxies have a lens of another split on their cutout.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table, lenses : pandas.DataFrame
        Columns ra, dec (degrees) and split.

    Returns
    -------
    ndarray of bool, one for each row of the table
    """
    corner = u.Quantity(settings.cutouts.size * PIXEL_SCALE_ARCSEC / np.sqrt(2), "arcsec")
    found = np.zeros(len(table), bool)
    for split in SPLITS:
        mine = (table["split"] == split).to_numpy()
        others = lenses[lenses["split"] != split]
        if mine.any() and len(others):
            here = SkyCoord(table["ra"][mine], table["dec"][mine], unit="deg")
            there = SkyCoord(others["ra"], others["dec"], unit="deg")
            found[mine] = here.match_to_catalog_sky(there)[1] < corner
    return found
