"""Files of cutouts: a brick's images and their catalogue."""

import numpy as np
import pandas as pd

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_fits

__all__ = ["native_array", "read_cutouts"]


def read_cutouts(path):
    """Read a file of cutouts.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    images : (N, B, size, size) float32 array
        Nanomaggies per pixel, bands in the order of ``survey.bands``; NaN where there is no data.
    catalog : pandas.DataFrame
        `lenspipe.survey.tractor.parent_columns` and ``flags`` (int32, bits of `FLAGS`), N rows.

    Raises
    ------
    LenspipeError
        The file is missing, truncated or of another kind.
    """
    with open_fits(path) as hdus:
        if [hdu.get_extname() for hdu in hdus][1:] != ["IMAGE", "CATALOG"]:
            raise LenspipeError(
                f"{path}: no complete file of cutouts; expected HDUs IMAGE and CATALOG; delete it "
                "and run again"
            )
        images, rows = hdus["IMAGE"].read(), hdus["CATALOG"].read()
    if images.ndim != 4 or len(images) != len(rows):
        raise LenspipeError(
            f"{path}: {len(rows)} rows for images of shape {images.shape}; delete it and run again"
        )
    catalog = pd.DataFrame(rows.astype(rows.dtype.newbyteorder("=")))
    return images.astype(np.float32, copy=False), catalog


def native_array(catalog):
    """Turn a table into a structured array for FITS, strings as ASCII."""
    columns = {
        name: values.to_numpy()
        if pd.api.types.is_numeric_dtype(values)
        else np.array(values.to_list(), "S")
        for name, values in catalog.items()
    }
    array = np.empty(len(catalog), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        array[name] = values
    return array
