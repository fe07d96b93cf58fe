"""Files of cutouts: the images of a brick and their catalogue."""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.io.fits.hdu.compressed import SUBTRACTIVE_DITHER_2

from lenspipe.config.surveys.base import Release
from lenspipe.config.surveys.registry import default_release, find_release
from lenspipe.products.files import require
from lenspipe.products.schema import PRODUCTS, command_for
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.fits import open_fits
from lenspipe.utils.tables import fits_values

__all__ = [
    "native_array",
    "open_cutouts",
    "read_catalog",
    "read_cutout",
    "read_cutouts",
    "read_flags",
    "read_header",
    "read_release",
    "read_rows",
    "replace_catalog",
    "write_cutouts",
]


def open_cutouts(
    path: str | os.PathLike[str], alternative: str = ""
) -> contextlib.AbstractContextManager[fitsio.FITS]:
    """Open a file of cutouts, as `lenspipe.utils.fits.open_fits` does.

    Parameters
    ----------
    alternative
        As in `lenspipe.products.files.require`.
    """
    path = require(path, "cutouts", alternative)
    command = command_for(PRODUCTS["cutouts"], path)
    return open_fits(path, f"delete it and make it again with `{command}`")


def read_cutouts(
    path: str | os.PathLike[str], alternative: str = ""
) -> tuple[np.ndarray, pd.DataFrame]:
    """Read a file of cutouts.

    Parameters
    ----------
    alternative
        As in `lenspipe.products.files.require`.

    Returns
    -------
    images : (N, B, size, size) float32 array
        Nanomaggies per pixel, bands in the order of ``survey.bands``; NaN where there are no data.
    catalog
        `lenspipe.products.tables.parent_columns` and ``flags`` (int32, bits of `FLAGS`), N rows.

    Raises
    ------
    LenspipeError
        The file is missing, truncated or of another kind.
    """
    with open_cutouts(path, alternative) as hdus:
        if [hdu.get_extname() for hdu in hdus][1:] != ["IMAGE", "CATALOG"]:
            raise LenspipeError(
                f"{path}: not a complete file of cutouts; expected HDUs IMAGE and CATALOG; delete "
                "it and run again"
            )
        images, rows = hdus["IMAGE"].read(), hdus["CATALOG"].read()
    if images.ndim not in (3, 4) or len(images) != len(rows):
        raise LenspipeError(
            f"{path}: {len(rows)} rows for images of shape {images.shape}; delete it and run again"
        )
    return _separate_bands(images), _as_frame(rows)


def read_cutout(hdus: fitsio.FITS, row: int) -> np.ndarray:
    """Read a single cutout of an open file: float32 (B, size, size), as in `read_cutouts`."""
    return _separate_bands(read_rows(hdus["IMAGE"], row, row + 1))[0]


def read_rows(image: fitsio.hdu.ImageHDU, start: int, stop: int) -> np.ndarray:
    """Read rows of an image along its first axis; it has any number of axes."""
    others = (slice(None),) * (len(image.get_dims()) - 1)
    return image[(slice(start, stop), *others)]


def _separate_bands(images: np.ndarray) -> np.ndarray:
    """(N, B * size, size), or four axes already, to float32 (N, B, size, size)."""
    n, *others, size = images.shape
    return images.reshape(n, math.prod(others) // size, size, size).astype(np.float32, copy=False)


def _as_frame(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(rows.astype(rows.dtype.newbyteorder("=")))


def read_flags(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read the flags of a brick's cutouts: id -> bits of `FLAGS`."""
    with open_cutouts(path) as hdus:
        rows = hdus["CATALOG"].read(columns=["id", "flags"])
    return dict(zip(rows["id"].tolist(), rows["flags"].tolist(), strict=True))


def read_catalog(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the catalogue of a file of cutouts."""
    with open_cutouts(path) as hdus:
        return _as_frame(hdus["CATALOG"].read())


def read_header(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read the header of the images of a file of cutouts."""
    with open_cutouts(path) as hdus:
        return hdus["IMAGE"].read_header()


def read_release(paths: Iterable[Path]) -> Release:
    """Return the release that cutouts were taken from.

    Parameters
    ----------
    paths
        Files of cutouts of one run, of which the first that is readable counts. If there is none,
        or its header does not name the release, it is that of the default configuration.
    """
    for path in filter(Path.exists, paths):
        try:
            name = str(read_header(path).get("RELEASE", "")).strip()
        except LenspipeError:
            continue
        return find_release(name) if name else default_release()
    return default_release()


def write_cutouts(
    path: str | os.PathLike[str],
    images: np.ndarray,
    catalog: pd.DataFrame,
    header: fits.Header,
    step: float | None = None,
) -> None:
    """Write a file of cutouts.

    The bands of a galaxy are one above the other in a single image, since CFITSIO compresses images
    of up to three axes.

    Parameters
    ----------
    images, catalog
        As in `read_cutouts`.
    step
        Step in which the pixels are quantised, with subtractive dithering (FITS standard 4.0,
        section 10.2), and compressed by Rice's algorithm: as the survey's own coadds, a quarter of
        the size of float32. None writes the pixels as they are.
    """
    n, bands, size, _ = images.shape
    stacked = images.reshape(n, bands * size, size)
    image = fits.ImageHDU(stacked, header, name="IMAGE")
    if step and n:
        image = fits.CompImageHDU(
            stacked,
            header,
            name="IMAGE",
            compression_type="RICE_1",
            tile_shape=(1, size, size),
            quantize_level=-step,
            quantize_method=SUBTRACTIVE_DITHER_2,
            dither_seed=1,
        )
    hdus = [
        fits.PrimaryHDU(),
        image,
        fits.BinTableHDU(native_array(catalog), name="CATALOG"),
    ]
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def replace_catalog(
    path: str | os.PathLike[str], catalog: pd.DataFrame, header: fits.Header
) -> None:
    """Give a file of cutouts another catalogue and other keys; its pixels stay as they are."""
    # Read as the table that a compressed image is, so that it is not compressed twice.
    with fits.open(path, disable_image_compression=True) as hdus, atomic(path) as temporary:
        hdus["IMAGE"].header.update(header)
        hdus["CATALOG"] = fits.BinTableHDU(native_array(catalog), name="CATALOG")
        hdus.writeto(temporary)


def native_array(catalog: pd.DataFrame) -> np.ndarray:
    """Turn a table into a structured array for FITS, with texts as ASCII."""
    columns = {
        name: values.to_numpy()
        if pd.api.types.is_numeric_dtype(values)
        else fits_values(values).astype("S")
        for name, values in catalog.items()
    }
    array = np.empty(len(catalog), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        array[name] = values
    return array
