"""Reading of the survey's FITS files: tables, and sections of coadded images."""

import contextlib
from pathlib import Path

import fitsio
import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS

from lenspipe.errors import LenspipeError

__all__ = ["open_fits", "read_geometry", "read_stamps", "read_table"]

#: Keywords of a coadd's world coordinates; others in its header are non-standard and only warn.
_WCS_KEYS = (
    *(f"{key}{axis}" for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for axis in (1, 2)),
    *(f"{key}{i}_{j}" for key in ("CD", "PC") for i in (1, 2) for j in (1, 2)),
)


@contextlib.contextmanager
def open_fits(path):
    """Open a FITS file to read; what goes wrong while it is open is said in one line.

    CFITSIO notices that a file was cut short only when it comes to the missing part, so its size
    is compared with what its headers promise first.

    Parameters
    ----------
    path : str or path-like

    Yields
    ------
    fitsio.FITS

    Raises
    ------
    LenspipeError
        The file is missing, truncated, garbled or no FITS file.
    """
    path = Path(path)
    if not path.is_file():
        raise LenspipeError(f"{path}: no such file; download it or correct survey.tree")
    try:
        with fitsio.FITS(str(path)) as fits:
            end = max(hdu.get_offsets()["data_end"] for hdu in fits)
            size = path.stat().st_size
            if size < end and path.suffix != ".gz":
                raise LenspipeError(
                    f"{path}: truncated: found {size} bytes, expected {end}; download it again"
                )
            yield fits
    except OSError as error:
        reason = str(error).splitlines()[0].strip()
        raise LenspipeError(
            f"{path}: not a readable FITS file ({reason}); download it again"
        ) from None


def read_table(path, columns, optional=()):
    """Read columns of a file's first table.

    Parameters
    ----------
    path : str or path-like
    columns : iterable of str
        Names in lower case, found in whatever case the file has them.
    optional : iterable of str
        Columns that may be absent.

    Returns
    -------
    dict
        Name -> array in native byte order.

    Raises
    ------
    LenspipeError
        No readable file, no table in it, or columns are missing.
    """
    with open_fits(path) as fits:
        table = next((hdu for hdu in fits if hdu.get_exttype() == "BINARY_TBL"), None)
        if table is None:
            raise LenspipeError(f"{path}: found no table, expected one; download it again")
        names = {name.lower(): name for name in table.get_colnames()}
        absent = [name for name in columns if name not in names]
        if absent:
            raise LenspipeError(
                f"{path}: no column {', '.join(absent)}; expected a table of the release in "
                "config key survey.release"
            )
        wanted = [name for name in dict.fromkeys([*columns, *optional]) if name in names]
        rows = table.read(columns=[names[name] for name in wanted])
    rows = rows.astype(rows.dtype.newbyteorder("="))
    return {name: rows[names[name]] for name in wanted}


def read_geometry(path):
    """Read where a coadd lies on the sky.

    Parameters
    ----------
    path : str or path-like
        Coadd of any kind that has world coordinates.

    Returns
    -------
    wcs : astropy.wcs.WCS
    shape : tuple of int
        Rows and columns, pixels.

    Raises
    ------
    LenspipeError
        The file can't be read, or has no image or no world coordinates.
    """
    with open_fits(path) as fits:
        hdu = _image(fits, path)
        header, shape = hdu.read_header(), tuple(hdu.get_dims())
    cards = Header({key: header[key] for key in _WCS_KEYS if key in header})
    if "CRVAL1" not in cards:
        raise LenspipeError(f"{path}: no world coordinates (CRVAL1); download it again")
    return WCS(cards), shape


def read_stamps(path, x, y, size, fill):
    """Read square sections of an image, and of its tiles only those they touch.

    Parameters
    ----------
    path : str or path-like
        Coadd; compressed or not.
    x, y : (N,) array of int
        Column and row of the central pixels, from 0; may lie outside the image.
    size : int
        Side, pixels; odd.
    fill : float or int
        Value of pixels outside the image.

    Returns
    -------
    (N, size, size) array
        Of the image's type.

    Raises
    ------
    LenspipeError
        The file can't be read or has no image.
    """
    with open_fits(path) as fits:
        hdu = _image(fits, path)
        height, width = hdu.get_dims()
        pixels = hdu
        # A stamp of 101 touches 4 of the 1,296 tiles: from here on, reading all is quicker.
        if len(x) * size**2 > 0.25 * height * width:
            pixels = hdu.read()
        stamps = np.full((len(x), size, size), fill, pixels[0:1, 0:1].dtype)
        corners = zip((x - size // 2).tolist(), (y - size // 2).tolist(), strict=True)
        for stamp, (left, bottom) in zip(stamps, corners, strict=True):
            x0, x1 = max(left, 0), min(left + size, width)
            y0, y1 = max(bottom, 0), min(bottom + size, height)
            if x0 < x1 and y0 < y1:
                stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return stamps


def _image(fits, path):
    """Return the first HDU with a two-dimensional image: 1 in the survey's files, 0 in others."""
    for hdu in fits:
        if hdu.get_exttype() == "IMAGE_HDU" and len(hdu.get_dims()) == 2:
            return hdu
    raise LenspipeError(f"{path}: found no image, expected one; download it again")
