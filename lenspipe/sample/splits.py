"""Division of the sky between training, validation and test."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike

from lenspipe.products.sample import SPLITS

__all__ = ["assign_cells", "cells_of_bricks", "near_lens_of_other_split", "split_bricks"]


def assign_cells(
    lenses: ArrayLike, galaxies: ArrayLike, fractions: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """Assign each cell on the sky to a split, so that each group of lenses has the same fractions.

    Cells are shuffled, and those with the most lenses assigned first, each to the split that lacks
    most of the lenses in the cell; groups have equal weight, however rare. The last cells with
    lenses are kept for splits that would have none. Cells without lenses are then assigned to the
    split that lacks most galaxies. This is the stratification of Sechidis, Tsoumakas & Vlahavas
    (2011, ECML PKDD, sect. 3) for cells with several examples. Return the index of the split of
    each cell, int, (N,). The generator decides among equals.

    Parameters
    ----------
    lenses
        (N, K) number of lenses of each group in a cell.
    galaxies
        (N, J) the same of galaxies.
    fractions
        Fraction of each split; they add up to 1. A split of fraction 0 gets no cell.
    """
    lenses, galaxies, fractions = (np.asarray(a, float) for a in (lenses, galaxies, fractions))
    order = rng.permutation(len(lenses))
    order = order[np.argsort(-lenses[order].sum(axis=1), kind="stable")]
    split = np.full(len(lenses), -1)
    lacking = [fractions[:, None] * table.sum(axis=0) for table in (lenses, galaxies)]
    weight = [1 / np.maximum(table.sum(axis=0), 1) ** 2 for table in (lenses, galaxies)]
    n_left = int((lenses.sum(axis=1) > 0).sum())
    without = set(np.flatnonzero(fractions > 0).tolist())
    for cell in order:
        which, counts = (0, lenses[cell]) if lenses[cell].any() else (1, galaxies[cell])
        lacks = lacking[which] @ (counts * weight[which])
        allowed = fractions > 0
        if 0 < n_left <= len(without):
            allowed = np.isin(np.arange(len(fractions)), list(without))
        split[cell] = np.argmax(np.where(allowed, lacks, -np.inf))
        if which == 0:
            n_left -= 1
            without.discard(int(split[cell]))
        lacking[0][split[cell]] -= lenses[cell]
        lacking[1][split[cell]] -= galaxies[cell]
    return split


def split_bricks(
    cells: pd.Series,
    galaxies: pd.DataFrame,
    lenses: pd.DataFrame,
    fractions: tuple[float, float, float],
    seed: int,
) -> dict[str, str]:
    """Assign bricks to splits by the cell of the sky that they belong to.

    Cells with lenses are assigned by their lenses alone.

    Parameters
    ----------
    cells
        As returned by `cells_of_bricks`.
    galaxies
        Columns brick and region.
    lenses
        Columns brick, region and grade: each grade and region has the same fractions.
    fractions
        Of training, validation and test.
    """
    all_cells = np.unique(cells)

    def count(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        # Arrays, since pandas 3.0 does not count rows with the same label.
        groups = [table[column].to_numpy() for column in columns]
        return pd.crosstab(table["brick"].map(cells).to_numpy(), groups).reindex(
            all_cells, fill_value=0
        )

    split = assign_cells(
        count(lenses, ["grade", "region"]),
        count(galaxies, ["region"]),
        fractions,
        np.random.default_rng([seed, 20]),
    )
    return dict(cells.map(pd.Series(np.array(SPLITS)[split], all_cells)))


def cells_of_bricks(bricks: pd.DataFrame, nside: int) -> pd.Series:
    """Nested HEALPix cell that each brick belongs to, an integer; the index is the brick.

    Bricks have columns brick, ra, dec (degrees).
    """
    grid = HEALPix(nside, order="nested")
    cells = grid.lonlat_to_healpix(
        bricks["ra"].to_numpy() * u.deg, bricks["dec"].to_numpy() * u.deg
    )
    return pd.Series(cells, bricks["brick"].to_numpy())


def near_lens_of_other_split(
    table: pd.DataFrame, lenses: pd.DataFrame, side_arcsec: float
) -> np.ndarray:
    """Mask of the galaxies that have a lens of another split on their cutout.

    Both tables have columns ra, dec (degrees) and split.
    """
    corner = u.Quantity(side_arcsec / np.sqrt(2), "arcsec")
    result = np.zeros(len(table), bool)
    for split in SPLITS:
        of_split = (table["split"] == split).to_numpy()
        others = lenses[lenses["split"] != split]
        if of_split.any() and len(others):
            here = SkyCoord(table["ra"][of_split], table["dec"][of_split], unit="deg")
            there = SkyCoord(others["ra"], others["dec"], unit="deg")
            result[of_split] = here.match_to_catalog_sky(there)[1] < corner
    return result
