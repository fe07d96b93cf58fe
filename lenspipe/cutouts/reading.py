"""Reading cutouts of galaxies wherever they are."""

import numpy as np
import pandas as pd

from lenspipe.cutouts.chunk import cutouts_at
from lenspipe.products.cutouts import read_cutouts
from lenspipe.utils.errors import LenspipeError

__all__ = ["read_galaxies", "read_images"]


def read_images(settings, table):
    """Read the cutouts of some galaxies; each brick's file is read once.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame
        Columns ``id`` and ``brick``.

    Returns
    -------
    numpy.ndarray, float32, shape (N, B, S, S)
        Nanomaggies, in the order of the table's rows.

    Raises
    ------
    LenspipeError
        A galaxy has no cutout.
    """
    return read_galaxies(settings, table)[0]


def read_galaxies(settings, table):
    """Read the cutouts of some galaxies, and what their files say of them.

    Parameters and errors are those of `read_images`.

    Returns
    -------
    images : numpy.ndarray, float32, shape (N, B, S, S)
        Nanomaggies, in the order of the table's rows.
    catalog : pandas.DataFrame
        N rows with the columns of the files' catalogues, in the same order.
    """
    size = settings.cutouts.size
    images = np.empty((len(table), len(settings.survey.bands), size, size), np.float32)
    rows = pd.Series(np.arange(len(table)), index=table["id"].to_numpy())
    catalogs = []
    for brick, group in table.groupby("brick"):
        path = cutouts_at(settings, brick)
        cutouts, catalog = read_cutouts(path)
        places = pd.Index(catalog["id"]).get_indexer(group["id"])
        if (places < 0).any():
            raise LenspipeError(
                f"{path}: found no galaxy {group['id'].to_numpy()[places < 0][0]}, expected the "
                "galaxies that were scored; cut out and score this brick again"
            )
        if cutouts.shape[1:] != images.shape[1:]:
            raise LenspipeError(
                f"{path}: found cutouts of shape {cutouts.shape[1:]}, expected {images.shape[1:]} "
                "of config keys survey.bands and cutouts.size; cut out this brick again"
            )
        images[rows[group["id"]].to_numpy()] = cutouts[places]
        catalogs.append(catalog.iloc[places].set_index(rows[group["id"]].to_numpy()))
    return images, pd.concat(catalogs).sort_index() if catalogs else pd.DataFrame()
