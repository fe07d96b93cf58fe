"""Where in a FITS file the pixels of an image are, from the first part of the file."""

import re
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import touched_tiles

__all__ = ["BLOCK", "Layout", "MoreNeeded", "read_layout"]

#: FITS files are made of blocks of this many bytes.
BLOCK = 2880

#: Format of a column of variable length: what its entries are.
_DESCRIPTOR = re.compile("[01]?[PQ]([BIJKED])")

_ITEM_BYTES = {"B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8}


class MoreNeeded(Exception):
    """The first part of the file does not reach far enough.

    Parameters
    ----------
    stop : int
        How far it has to reach at least, bytes.
    """

    def __init__(self, stop):
        super().__init__(stop)
        self.stop = stop


@dataclass
class Layout:
    """Where the pixels of a file's image are.

    Attributes
    ----------
    header : astropy.io.fits.Header
        Of the image.
    end : int
        End of the image's part of the file.
    shape, tile : tuple of int
        Rows and columns of the image, and of a tile; the tile of an uncompressed image is a pixel.
    where : (tiles, columns, 2) int64 array or None
        Offset and length of each tile's data in each column of variable length; None where the
        image is not compressed.
    descriptors : list of tuple
        (offset in the row, dtype) of those columns in the table.
    row : int
        Bytes of a row of the table.
    start : int
        Where the table, or the pixels of an uncompressed image, start.
    pixel : int
        Bytes of a pixel of an uncompressed image.
    """

    header: fits.Header
    end: int
    shape: tuple
    start: int
    tile: tuple = (1, 1)
    where: np.ndarray | None = None
    descriptors: list | None = None
    row: int = 0
    pixel: int = 0

    @property
    def first_bytes(self):
        """How much from the beginning of the file has to be there to know this, bytes."""
        return self.start + (0 if self.where is None else self.row * len(self.where))

    def runs(self, boxes):
        """Return the bytes that hold the pixels of boxes.

        Parameters
        ----------
        boxes : (N, 4) int array
            First and last + 1 column, first and last + 1 row of each; inside the image.

        Returns
        -------
        list of tuple of int
            (start, stop), sorted.
        """
        if self.where is None:
            width = self.shape[1]
            return sorted(
                (
                    self.start + (y * width + x0) * self.pixel,
                    self.start + (y * width + x1) * self.pixel,
                )
                for x0, x1, y0, y1 in boxes.tolist()
                for y in range(y0, y1)
            )
        where = self.where[touched_tiles(boxes, self.shape, self.tile).ravel()].reshape(-1, 2)
        where = where[where[:, 1] > 0]
        return sorted(zip(where[:, 0].tolist(), where.sum(axis=1).tolist(), strict=True))

    def forget_others(self, file, boxes):
        """Empty the entries of tiles that no box touches, so that none is read by mistake.

        Parameters
        ----------
        file : binary file
            The local file, open to read and write.
        boxes : (N, 4) int array
        """
        if self.where is None:
            return
        others = ~touched_tiles(boxes, self.shape, self.tile).ravel()
        size = self.row * len(others)
        file.seek(self.start)
        table = np.frombuffer(bytearray(file.read(size)), np.uint8).reshape(-1, self.row)
        for offset, dtype in self.descriptors:
            table[others, offset : offset + dtype.itemsize] = 0
        file.seek(self.start)
        file.write(table.tobytes())


def read_layout(path, available, size):
    """Read where a file's first two-dimensional image is.

    Parameters
    ----------
    path : str or path-like
        Local file with at least the first part of the remote one.
    available : int
        Length of that part, bytes.
    size : int
        Length of the remote file.

    Returns
    -------
    Layout

    Raises
    ------
    MoreNeeded
        The first part is too short.
    LenspipeError
        The file is no FITS file, has no image, or promises more than its size.
    """
    with open(path, "rb") as file:
        data = file.read(available)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            return _find_image(path, data, size)
        except (KeyError, TypeError, ValueError) as error:
            raise LenspipeError(f"{path}: garbled header: {error}") from None


def _find_image(path, data, size):
    start = 0
    while start < size:
        header, data_start = _header(data, start, size, path)
        naxes = [header.get(f"NAXIS{i}", 0) for i in range(1, header.get("NAXIS", 0) + 1)]
        pixel = abs(header.get("BITPIX", 8)) // 8
        body = pixel * (header.get("PCOUNT", 0) + int(np.prod(naxes))) if naxes else 0
        end = data_start + -(-body // BLOCK) * BLOCK
        compressed = header.get("ZIMAGE", False) and header.get("ZNAXIS") == 2
        plain = header.get("XTENSION", "IMAGE").strip() == "IMAGE" and len(naxes) == 2
        if compressed or plain:
            if end > size:
                raise LenspipeError(f"{path}: truncated: {size} bytes, its header promises {end}")
            if compressed:
                return _compressed(data, header, data_start, end, path)
            return Layout(header, end, tuple(naxes[::-1]), data_start, pixel=pixel)
        start = end
    raise LenspipeError(f"{path}: found no image, expected one")


def _header(data, start, size, path):
    """Parse the header that starts there; return it and where its data start."""
    block = start
    while True:
        if block + BLOCK > min(len(data), size):
            if block + BLOCK > size:
                raise LenspipeError(f"{path}: not a whole FITS file: it ends within a header")
            raise MoreNeeded(block + BLOCK)
        cards = data[block : block + BLOCK]
        if block == start and not cards.startswith((b"SIMPLE  =", b"XTENSION=")):
            raise LenspipeError(f"{path}: not a FITS file: begins with {cards[:9]!r}")
        block += BLOCK
        if any(cards[i : i + 8] == b"END     " for i in range(0, BLOCK, 80)):
            break
    return fits.Header.fromstring(data[start:block].decode("ascii")), block


def _compressed(data, header, start, end, path):
    """Read the table of a tile-compressed image (FITS standard 4.0, sections 7.3.5 and 10.1)."""
    row, rows = header["NAXIS1"], header["NAXIS2"]
    if start + row * rows > len(data):
        raise MoreNeeded(start + row * rows)
    heap = start + header.get("THEAP", row * rows)
    numbers = range(1, header["TFIELDS"] + 1)
    forms = [(header[f"TTYPE{i}"], header[f"TFORM{i}"].strip()) for i in numbers]
    dtype = fits.ColDefs([fits.Column(*form) for form in forms]).dtype.newbyteorder(">")
    if dtype.itemsize != row:
        raise LenspipeError(f"{path}: rows of {row} bytes, its columns take {dtype.itemsize}")
    table = np.frombuffer(data, dtype, rows, start)
    where, descriptors = [], []
    for name, form in forms:
        if found := _DESCRIPTOR.match(form):
            entry = table[name].astype(np.int64)
            length = entry[:, 0] * _ITEM_BYTES[found[1]]
            where.append(np.stack([heap + entry[:, 1], length], axis=1))
            descriptors.append((dtype.fields[name][1], dtype.fields[name][0]))
    where = np.stack(where, axis=1)
    if (where < 0).any() or (where.sum(axis=2) > end).any():
        raise LenspipeError(f"{path}: garbled table: tiles beyond the end of the image")
    shape = (header["ZNAXIS2"], header["ZNAXIS1"])
    tile = (header.get("ZTILE2", 1), header.get("ZTILE1", shape[1]))
    if rows != -(-shape[0] // tile[0]) * -(-shape[1] // tile[1]):
        raise LenspipeError(f"{path}: {rows} tiles of {tile} can't make an image of {shape}")
    return Layout(header, end, shape, start, tile, where, descriptors, row)
