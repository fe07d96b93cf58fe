"""Reading of the survey's FITS files: tables, and sections of coadded images."""

import contextlib
import re
import threading
import time
from pathlib import Path

import fitsio
import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS

from lenspipe.errors import LenspipeError

__all__ = [
    "clip_boxes",
    "open_fits",
    "read_geometry",
    "read_stamps",
    "read_table",
    "touched_tiles",
    "wcs_of",
]

#: Keywords of a coadd's world coordinates; others in its header are non-standard and only warn.
_WCS_KEYS = (
    *(f"{key}{axis}" for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for axis in (1, 2)),
    *(f"{key}{i}_{j}" for key in ("CD", "PC") for i in (1, 2) for j in (1, 2)),
)

#: CFITSIO's numbers of pixel types, those scaled to unsigned integers included.
_DTYPES = {
    8: "u1",
    16: "i2",
    32: "i4",
    64: "i8",
    -32: "f4",
    -64: "f8",
    10: "i1",
    20: "u2",
    40: "u4",
}

_ZTILE = re.compile(rb"ZTILE([12]) *= *(\d+)")


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


def wcs_of(header, path):
    """Return the world coordinates of a coadd.

    Parameters
    ----------
    header : mapping
        Its header.
    path : str or path-like
        Where it is from.

    Returns
    -------
    astropy.wcs.WCS

    Raises
    ------
    LenspipeError
        There are none.
    """
    cards = Header({key: header[key] for key in _WCS_KEYS if key in header})
    if "CRVAL1" not in cards:
        raise LenspipeError(f"{path}: no world coordinates (CRVAL1); download it again")
    return WCS(cards)


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
        return wcs_of(hdu.read_header(), path), tuple(hdu.get_dims())


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
        shape = hdu.get_dims()
        boxes = clip_boxes(x, y, size, shape)
        stamps = np.full((len(x), size, size), fill, _DTYPES[hdu.get_info()["img_equiv_type"]])
        corners = np.stack([x, y], axis=1) - size // 2
        for (x0, x1, y0, y1), members in _sections(boxes, shape, _tile(path, hdu)):
            section = hdu[y0:y1, x0:x1]
            if threading.current_thread() is not threading.main_thread():
                # CFITSIO has held the interpreter's lock: let threads that fetch files have it.
                time.sleep(0)
            for i in members:
                (left, bottom), (begin, end, low, high) = corners[i].tolist(), boxes[i].tolist()
                part = section[low - y0 : high - y0, begin - x0 : end - x0]
                stamps[i, low - bottom : high - bottom, begin - left : end - left] = part
    return stamps


def clip_boxes(x, y, size, shape):
    """Return the parts of stamps that are inside an image.

    Parameters
    ----------
    x, y : (N,) array of int
        Column and row of the central pixels, from 0; may lie outside the image.
    size : int
        Side, pixels; odd.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    (N, 4) int array
        First and last + 1 column, first and last + 1 row; equal where nothing is inside.
    """
    corners = np.stack([x, x + size, y, y + size], axis=1) - size // 2
    return np.clip(corners, 0, np.repeat(shape[::-1], 2))


def touched_tiles(boxes, shape, tile):
    """Tell which tiles of an image boxes touch.

    Parameters
    ----------
    boxes : (N, 4) int array
        As of `clip_boxes`.
    shape, tile : tuple of int
        Rows and columns of the image and of a tile.

    Returns
    -------
    2-D bool array
        One value per tile, rows of tiles first.
    """
    touched = np.zeros([-(-pixels // side) for pixels, side in zip(shape, tile, strict=True)], bool)
    for x0, x1, y0, y1 in boxes[(boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])].tolist():
        touched[y0 // tile[0] : -(-y1 // tile[0]), x0 // tile[1] : -(-x1 // tile[1])] = True
    return touched


def _sections(boxes, shape, tile):
    """Yield sections made of whole tiles, all of which boxes touch, and the numbers of those boxes.

    Neighbours in the same rows of tiles are one section, since each call of CFITSIO takes as long
    as half a tile. It keeps the last tile of each column, so that in this order none is decoded
    twice where a box touches two rows of tiles.
    """
    first = boxes[:, ::2] // tile[::-1]
    last = (boxes[:, 1::2] - 1) // tile[::-1]
    inside = (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])
    order = np.lexsort((first[:, 0], last[:, 1], first[:, 1]))
    groups = []
    for i in order[inside[order]].tolist():
        (c0, r0), (c1, r1) = first[i].tolist(), last[i].tolist()
        if groups and groups[-1][2:4] == [r0, r1] and c0 <= groups[-1][1] + 1:
            groups[-1][1] = max(groups[-1][1], c1)
            groups[-1][4].append(i)
        else:
            groups.append([c0, c1, r0, r1, [i]])
    for c0, c1, r0, r1, members in groups:
        x1, y1 = min((c1 + 1) * tile[1], shape[1]), min((r1 + 1) * tile[0], shape[0])
        yield (c0 * tile[1], x1, r0 * tile[0], y1), members


def _tile(path, hdu):
    """Rows and columns of a tile; what is read at once of an image that has none."""
    if hdu.get_comptype() is None:
        return (100, 100)
    # CFITSIO and astropy take longer to read all of a header than to decode ten tiles.
    where = hdu.get_offsets()
    with open(path, "rb") as file:
        file.seek(where["header_start"])
        header = file.read(where["data_start"] - where["header_start"])
    sides = {int(axis): int(side) for axis, side in _ZTILE.findall(header)}
    return (sides.get(2, 1), sides.get(1, hdu.get_dims()[1]))


def _image(fits, path):
    """Return the first HDU with a two-dimensional image: 1 in the survey's files, 0 in others."""
    for hdu in fits:
        if hdu.get_exttype() == "IMAGE_HDU" and len(hdu.get_dims()) == 2:
            return hdu
    raise LenspipeError(f"{path}: found no image, expected one; download it again")
