"""FITS files: opening, tables, world coordinates, compressed tiles."""

import contextlib
import errno
import gzip
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import fitsio
import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS

from lenspipe.utils.errors import LenspipeError

__all__ = [
    "check_sums",
    "clip_boxes",
    "create_fits",
    "open_fits",
    "open_unzipped",
    "read_fits_table",
    "reading",
    "touched_tiles",
    "wcs_of",
]

#: Names of files that CFITSIO and fitsio take as they are.
_PLAIN = re.compile(r"[\w./-]*\w\.\w+", re.ASCII)

#: Keywords of a coadd's world coordinates; others in its header are non-standard and only warn.
_WCS_KEYS = (
    *(f"{key}{axis}" for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for axis in (1, 2)),
    *(f"{key}{i}_{j}" for key in ("CD", "PC") for i in (1, 2) for j in (1, 2)),
)


#: What to do with a damaged file of the survey.
_REMEDY = "download it again"

#: Errors of the code, the installation or the machine rather than of a file.
_NOT_OF_A_FILE = (MemoryError, NameError, ImportError)


@contextlib.contextmanager
def _plain_name(path: Path) -> Iterator[str]:
    """Yield a name of a file that may not exist yet, to be given to CFITSIO.

    CFITSIO reads more than a name in what it is given: sections and filters in brackets, numbers of
    HDUs after a plus sign, templates in parentheses, other files after an exclamation mark; fitsio
    expands ``~`` and ``$``. A name with such characters is therefore replaced by that of a link.
    """
    name = f".{os.sep}{path}" if not path.is_absolute() else str(path)
    if _PLAIN.fullmatch(name):
        yield name
        return
    folder = tempfile.gettempdir()
    folder = folder if _PLAIN.fullmatch(f"{folder}/x.fits") else "/tmp"
    with tempfile.TemporaryDirectory(prefix="lenspipe-", dir=folder) as links:
        link = Path(links) / "file.fits"
        link.symlink_to(path.absolute())
        yield str(link)


@contextlib.contextmanager
def create_fits(path: str | os.PathLike[str]) -> Iterator[fitsio.FITS]:
    """Create a FITS file, to be written by fitsio."""
    with _plain_name(Path(path)) as name, fitsio.FITS(name, "rw") as fits:
        yield fits


def open_unzipped(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read bytes, those within if it is compressed with gzip, whatever its name."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path) if zipped else open(path, "rb"))


def _is_compressed(path: Path) -> bool:
    with open(path, "rb") as file:
        return not file.read(6).startswith(b"SIMPLE")


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], remedy: str = _REMEDY) -> Iterator[None]:
    """Read a file of the survey in the block; whatever is wrong with it becomes one line.

    This alone decides which errors are those of a file, and so cost its brick: every `Exception`
    but exhausted memory, a full disk, an absent module or name. An interrupt is no `Exception`.

    Parameters
    ----------
    path
        As errors name it.
    remedy
        What to do with a damaged file, for errors.

    Raises
    ------
    LenspipeError
        The block could not read or interpret the file.
    """
    try:
        yield
    except (LenspipeError, *_NOT_OF_A_FILE):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unreadable(path, error, remedy) from None


def _unreadable(path: str | os.PathLike[str], error: Exception, remedy: str) -> LenspipeError:
    reason = next(iter(str(error).strip().splitlines()), "").strip()
    if not isinstance(error, OSError):
        reason = f"{type(error).__name__}: {reason}"
    return LenspipeError(f"{path}: not a readable FITS file ({reason}); {remedy}")


@contextlib.contextmanager
def open_fits(path: str | os.PathLike[str], remedy: str = _REMEDY) -> Iterator[fitsio.FITS]:
    """Open a FITS file to read; errors while it is open become one line.

    CFITSIO detects a truncated file only when it reaches the missing data, so the size is first
    compared with that in the headers.

    Parameters
    ----------
    path
    remedy
        As in `reading`.

    Raises
    ------
    LenspipeError
        The file is missing, truncated, garbled or not a FITS file.
    """
    path = Path(path)
    if not path.is_file():
        raise LenspipeError(f"{path}: no such file; download it or correct survey.tree")
    with contextlib.ExitStack() as stack:
        with reading(path, remedy):
            try:
                fits, end = _open(path)
            except UnicodeError:
                # CFITSIO's messages are those of all files, and remain until fitsio reads them: a
                # damaged file that was read before may have left bytes in them that are no text.
                fits, end = _open(path)
            stack.enter_context(fits)
            size = path.stat().st_size
            if size < end and not _is_compressed(path):
                raise LenspipeError(
                    f"{path}: truncated: found {size} bytes, expected {end}; {remedy}"
                )
        try:
            yield fits
        except (OSError, UnicodeError) as error:
            raise _unreadable(path, error, remedy) from None


def _open(path: Path) -> tuple[fitsio.FITS, int]:
    """Open a file; return it and its size in bytes as stated by its headers."""
    with contextlib.ExitStack() as stack:
        with _plain_name(path) as name:
            fits = stack.enter_context(fitsio.FITS(name))
        end = max(hdu.get_offsets()["data_end"] for hdu in fits)
        stack.pop_all()
    return fits, end


def read_fits_table(
    path: str | os.PathLike[str], columns: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Read columns of a file's first table.

    Parameters
    ----------
    columns
        Names in lower case; the file may have them in any case.
    optional
        Columns that may be absent.

    Returns
    -------
    dict
        Name -> array in native byte order.

    Raises
    ------
    LenspipeError
        The file can't be read, has no table, or columns are missing.
    """
    with reading(path), open_fits(path) as fits:
        table = next((hdu for hdu in fits if hdu.get_exttype() == "BINARY_TBL"), None)
        if table is None:
            raise LenspipeError(f"{path}: found no table, expected one; download it again")
        check_sums(table, table.read_header(), path)
        names = {name.lower(): name for name in table.get_colnames()}
        absent = [name for name in columns if name not in names]
        if absent:
            raise LenspipeError(
                f"{path}: no column {', '.join(absent)}; expected a table of the release in "
                "config key survey.release"
            )
        present = [name for name in dict.fromkeys([*columns, *optional]) if name in names]
        rows = table.read(columns=[names[name] for name in present])
        rows = rows.astype(rows.dtype.newbyteorder("="))
        return {name: rows[names[name]] for name in present}


def check_sums(
    hdu: fitsio.hdu.base.HDUBase, header: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    """Compare an HDU with the checksums in its header, if it has any (FITS standard 4.0, 4.4.2.7).

    Raises
    ------
    LenspipeError
        It is not what was written.
    """
    if "DATASUM" not in header:
        return
    try:
        hdu.verify_checksum()
    except ValueError as error:
        # CFITSIO counts an absent CHECKSUM as a wrong one.
        if "CHECKSUM" in header or "data" in str(error):
            raise LenspipeError(
                f"{path}: found {error}, expected bytes with the checksums in its header; download "
                "it again"
            ) from None


def wcs_of(header: Mapping[str, Any], path: str | os.PathLike[str]) -> WCS:
    """Return the world coordinates in the header of the coadd at `path`.

    Raises
    ------
    LenspipeError
        There are none, or they cannot be understood.
    """
    with reading(path):
        cards = Header({key: header[key] for key in _WCS_KEYS if key in header})
        if "CRVAL1" not in cards:
            raise LenspipeError(f"{path}: no world coordinates (CRVAL1); download it again")
        wcs = WCS(cards, fix=False)
        wcs.wcs.set()
        if not wcs.has_celestial:
            raise LenspipeError(
                f"{path}: found CTYPE {', '.join(wcs.wcs.ctype)}, expected right ascension and "
                "declination; download it again"
            )
        return wcs


def clip_boxes(x: np.ndarray, y: np.ndarray, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the areas of stamps that are inside an image.

    Parameters
    ----------
    x, y
        Column and row of the central pixels, from 0, shape (N,); may lie outside the image.
    size
        Side, pixels; odd.
    shape
        Rows and columns of the image.

    Returns
    -------
    (N, 4) int array
        First and last + 1 column, first and last + 1 row; equal where nothing is inside.
    """
    corners = np.stack([x, x + size, y, y + size], axis=1) - size // 2
    return np.clip(corners, 0, np.repeat(shape[::-1], 2))


def touched_tiles(boxes: np.ndarray, shape: tuple[int, ...], tile: tuple[int, ...]) -> np.ndarray:
    """Return which tiles of an image overlap any of some boxes.

    Parameters
    ----------
    boxes
        As returned by `clip_boxes`, shape (N, 4).
    shape, tile
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
