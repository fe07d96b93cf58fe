"""Stacks: cutouts in a user's file, FITS or npz, with a table beside them, read batch by batch."""

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.catalogs.positions import DEC, RA, RANGES, Positions, find_columns, read_positions
from lenspipe.products.cutouts import read_rows
from lenspipe.products.schema import FLAGS, IDENTITY, dtypes_of
from lenspipe.utils.delimited import NO_NUMBER
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_fits
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable, read_user_table, table_of_arrays

__all__ = ["is_stack", "known_columns", "open_stack", "stack_header"]

_IDENTIFIERS = dtypes_of((*IDENTITY, *FLAGS))

#: Columns that are copied from the table beside the cutouts to the scores; some are text.
_COPIED = ("name", *_IDENTIFIERS)
_TEXTS = ("name", *(name for name, dtype in _IDENTIFIERS.items() if dtype == "str"))

#: Bytes that identify a zip archive, which an npz is.
_ZIP = b"PK\x03\x04"

#: Bytes with which a FITS file begins.
_FITS = b"SIMPLE"

#: Shape of all cutouts, whether they are floats, reader of batches, table beside them.
_Opened = tuple[tuple[int, ...], bool, Callable[[int], Iterator[np.ndarray]], UserTable]


def is_stack(path: Path) -> bool:
    """Whether a file holds cutouts, and not a table: npz, or FITS with an image of them."""
    with open(path, "rb") as file:
        start = file.read(len(_FITS))
    if start != _FITS:
        return start.startswith(_ZIP)
    with open_fits(path) as hdus:
        return _stack_in(hdus) is not None


def stack_header(path: Path) -> Mapping[str, Any]:
    """Header of the image of a file of cutouts; empty for npz."""
    with open(path, "rb") as file:
        if file.read(len(_FITS)) != _FITS:
            return {}
    with open_fits(path) as hdus:
        image = _stack_in(hdus)
        return {} if image is None else dict(image.read_header())


def _stack_in(hdus: Iterable[Any]) -> Any:
    """Return the first image of cutouts of an open FITS file; None if it has none."""
    images = (hdu for hdu in hdus if hdu.get_exttype() == "IMAGE_HDU")
    return next((hdu for hdu in images if len(_stack_shape(hdu)) == 4), None)


def _stack_shape(image: Any) -> tuple[int, ...]:
    """Shape of an image, with bands that lie one above the other, as in a run's files, apart."""
    shape = tuple(int(side) for side in image.get_dims())
    if len(shape) == 3 and shape[1] > shape[2] and shape[1] % shape[2] == 0:
        return shape[0], shape[1] // shape[2], shape[2], shape[2]
    return shape


@contextlib.contextmanager
def open_stack(
    path: str | os.PathLike[str],
) -> Iterator[tuple[tuple[int, ...], Callable[[int], Iterator[np.ndarray]], UserTable]]:
    """Open a file of cutouts to be read in batches.

    It is FITS with a 4-D image, or one in the form of a run's cutouts, and optionally a table; or
    npz with one 4-D array and optionally arrays with a value per cutout.

    Yields
    ------
    shape : tuple of int
        Of all cutouts.
    batches : callable
        From a number to an iterator over arrays of at most that many cutouts, in order.
    beside : lenspipe.utils.user_tables.UserTable
        Table with a row per cutout, if available; without columns if not.

    Raises
    ------
    LenspipeError
        The file is missing or unreadable, or has no such array or an empty one.
    """
    path = Path(path)
    if not path.is_file():
        raise LenspipeError(f"{path}: no such file; expected cutouts as FITS or npz")
    with open(path, "rb") as file:
        is_npz = file.read(4) == _ZIP
    with (_open_npz if is_npz else _open_fits)(path) as (shape, is_float, batches, beside):
        if len(shape) != 4:
            raise LenspipeError(
                f"{path}: found images of shape {shape}, expected (N, bands, size, size) or (N, "
                "size, size, bands)"
            )
        if not shape[0]:
            raise LenspipeError(f"{path}: found no cutouts (shape {shape}), expected at least one")
        if not is_float:
            raise LenspipeError(
                f"{path}: found pixels that are not floating-point numbers, expected nanomaggies; "
                "convert them"
            )
        yield shape, batches, beside


@contextlib.contextmanager
def _open_fits(path: Path) -> Iterator[_Opened]:
    with open_fits(path) as hdus:
        images = [hdu for hdu in hdus if hdu.get_exttype() == "IMAGE_HDU" and hdu.get_dims()]
        if not images:
            raise LenspipeError(f"{path}: found no image, expected one of all cutouts")
        image = _stack_in(images)
        image = images[0] if image is None else image
        shape = _stack_shape(image)
        has_table = any(hdu.get_exttype() in ("BINARY_TBL", "ASCII_TBL") for hdu in hdus)
        beside = UserTable(str(path), [], [], [], [])
        if has_table:
            beside = read_user_table(path, "a row per cutout")

        def batches(number: int) -> Iterator[np.ndarray]:
            for start in range(0, shape[0], number):
                stop = min(start + number, shape[0])
                yield read_rows(image, start, stop).reshape(stop - start, *shape[1:])

        is_float = image.get_info()["img_equiv_type"] < 0  # CFITSIO's type codes
        yield shape, is_float, batches, beside


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[_Opened]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            headers = {name: _npy_header(archive, member) for name, member in names.items()}
            images = [name for name, (shape, *_) in headers.items() if len(shape) == 4]
            if len(images) != 1:
                arrays = ", ".join(f"{name} {shape}" for name, (shape, *_) in headers.items())
                raise LenspipeError(
                    f"{path}: found arrays {arrays or 'none'}, expected one of shape (N, bands, "
                    "size, size) or (N, size, size, bands)"
                )
            shape, fortran_order, dtype = headers[images[0]]
            if fortran_order:
                raise LenspipeError(
                    f"{path}: found array {images[0]} in Fortran's order, expected C's; save "
                    "numpy.ascontiguousarray of it"
                )
            beside = {}
            for name, member in names.items():
                if len(headers[name][0]) == 1 and not headers[name][2].hasobject:
                    with archive.open(member) as file:
                        beside[name] = np.lib.format.read_array(file, allow_pickle=False)
            if len({len(values) for values in beside.values()}) > 1:
                beside = {n: v for n, v in beside.items() if len(v) == shape[0]}

            def batches(number: int) -> Iterator[np.ndarray]:
                with archive.open(names[images[0]]) as file:
                    _read_npy_header(file)
                    for start in range(0, shape[0], number):
                        size = min(number, shape[0] - start), *shape[1:]
                        content = file.read(math.prod(size) * dtype.itemsize)
                        yield np.frombuffer(content, dtype).reshape(size)

            yield shape, dtype.kind == "f", batches, table_of_arrays(str(path), beside)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read as npz ({str(error).splitlines()[0]}); write it again with "
            "numpy.savez"
        ) from None


def _npy_header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    with archive.open(member) as file:
        return _read_npy_header(file)


def _read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of an array; its content comes next."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    return (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)


def known_columns(path: str | os.PathLike[str], table: UserTable, number: int) -> pd.DataFrame:
    """Number of the row, and the columns that are copied to the scores."""
    table.refuse_broken()
    if table.names and len(table) != number:
        raise LenspipeError(
            f"{path}: found {len(table)} rows for {number} cutouts, expected one for each, in order"
        )
    rows: dict[str, ArrayLike] = {"row": np.arange(number)}
    columns = find_columns(table, {"ra": RA, "dec": DEC})
    # One without the other is no position.
    columns = columns if len(columns) == 2 else {}
    if columns:
        positions = read_positions(table, columns)
        _refuse_unreadable(table, columns, positions)
    others = {*range(len(table.names))} - {*columns.values()}
    for name in _COPIED:
        if name in ("ra", "dec"):
            if columns:
                rows[name] = getattr(positions, name)
            continue
        column = table.find(name)
        if column is None:
            continue
        others.discard(column)
        if name in _TEXTS:
            rows[name] = table.text(column)
        else:
            rows[name] = _numbers(table, column)
    if others:
        names = ", ".join(table.names[number] for number in sorted(others))
        log.info("%s: columns that are not copied to the scores: %s", path, names)
    return pd.DataFrame(rows)


def _refuse_unreadable(table: UserTable, columns: Mapping[str, int], positions: Positions) -> None:
    """Refuse cells that are there but are no positions on the sky."""
    for name, (lowest, highest) in RANGES.items():
        text, values = table.text(columns[name]).str.lower(), getattr(positions, name)
        bad = np.isnan(values) & ~text.isin(NO_NUMBER).to_numpy()
        bad |= (values < lowest) | (values > highest)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            cell = text[row] or str(values[row])
            raise LenspipeError(
                f"{table.path}: {table.where([row])}: found {name} {cell!r}, expected degrees "
                "as a decimal number, or sexagesimal; correct it, or leave it empty"
            )


def _numbers(table: UserTable, column: int) -> np.ndarray:
    """Numbers of a column, integers if all are; int64 values beyond 2^53 stay exact."""
    values = table.columns[column]
    if pd.api.types.is_integer_dtype(values) and not values.isna().any():
        return values.to_numpy()
    numbers = table.numbers(column)
    if pd.api.types.is_float_dtype(values) or not np.isfinite(numbers).all():
        return numbers
    return numbers.astype(np.int64) if (numbers == np.round(numbers)).all() else numbers
