"""Reading of the cutouts of galaxies from the files of their bricks."""

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.cutouts.chunk import cutouts_at
from lenspipe.products.cutouts import read_cutouts
from lenspipe.utils.errors import LenspipeError

__all__ = ["read_galaxies", "read_images"]


def read_images(settings: Settings, table: pd.DataFrame) -> np.ndarray:
    """Read the cutouts of some galaxies; each brick's file is read once.

    Parameters
    ----------
    table
        Columns ``id`` and ``brick``.

    Returns
    -------
    (N, B, S, S) float32 array
        Nanomaggies, in the order of the table's rows.

    Raises
    ------
    LenspipeError
        A galaxy has no cutout.
    """
    return read_galaxies(settings, table)[0]


def read_galaxies(settings: Settings, table: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Read the cutouts of some galaxies, and their rows in the catalogues of the same files.

    Parameters and errors are those of `read_images`.

    Returns
    -------
    images
        As returned by `read_images`.
    catalog
        N rows with the columns of the files' catalogues, in the same order.
    """
    size = settings.cutouts.size
    images = np.empty((len(table), len(settings.survey.bands), size, size), np.float32)
    rows = pd.Series(np.arange(len(table)), index=table["id"].to_numpy())
    catalogs = []
    for brick, group in table.groupby("brick"):
        path = cutouts_at(settings, brick)
        cutouts, catalog = read_cutouts(path)
        indices = pd.Index(catalog["id"]).get_indexer(group["id"])
        if (indices < 0).any():
            raise LenspipeError(
                f"{path}: found no galaxy {group['id'].to_numpy()[indices < 0][0]}, expected the "
                "galaxies that were scored; cut out and score this brick again"
            )
        if cutouts.shape[1:] != images.shape[1:]:
            raise LenspipeError(
                f"{path}: found cutouts of shape {cutouts.shape[1:]}, expected {images.shape[1:]} "
                "of config keys survey.bands and cutouts.size; cut out this brick again"
            )
        images[rows[group["id"]].to_numpy()] = cutouts[indices]
        catalogs.append(catalog.iloc[indices].set_index(rows[group["id"]].to_numpy()))
    return images, pd.concat(catalogs).sort_index() if catalogs else pd.DataFrame()
