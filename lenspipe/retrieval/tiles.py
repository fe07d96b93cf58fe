"""Positions of an image's pixels in a FITS file, read from the first part of the file."""

import math
import os
import re
import warnings
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from lenspipe.retrieval.ranges import Ranges
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_unzipped, reading, touched_tiles

__all__ = ["BLOCK", "Layout", "MoreNeeded", "read_layout"]

#: Size of the blocks of FITS files, bytes.
BLOCK = 2880

#: Format of a column of variable length, with the type of its entries.
_DESCRIPTOR = re.compile("[01]?[PQ]([BIJKED])")

#: Maximum number of axes of an array (FITS standard 4.0, section 4.4.1).
_MAX_AXES = 999

_ITEM_BYTES = {"B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8}


class MoreNeeded(Exception):
    """The first part of the file does not reach far enough.

    Parameters
    ----------
    stop
        How far it has to reach at least, bytes.
    """

    def __init__(self, stop: int) -> None:
        super().__init__(stop)
        self.stop = stop


@dataclass
class Layout:
    """Positions of the pixels of a file's image; all offsets and lengths in bytes.

    Attributes
    ----------
    header
        Of the image.
    end
        End of the image's part of the file.
    shape, tile
        Rows and columns of the image, and of a tile; the tile of an uncompressed image is a pixel.
    start
        Start of the table, or of the pixels of an uncompressed image.
    tile_data
        (tiles, columns, 2) int64 array with the offset and length of each tile's data in each
        column of variable length; None if the image is not compressed.
    descriptors
        (offset in the row, dtype) of those columns in the table.
    row
        Length of a row of the table.
    pixel
        Length of a pixel of an uncompressed image.
    header_start
        Start of the header.
    """

    header: fits.Header
    end: int
    shape: tuple[int, int]
    start: int
    tile: tuple[int, int] = (1, 1)
    tile_data: np.ndarray | None = None
    descriptors: list[tuple[int, np.dtype]] = field(default_factory=list)
    row: int = 0
    pixel: int = 0
    header_start: int = 0

    @property
    def first_bytes(self) -> int:
        """Length of the first part of the file from which the layout can be read."""
        return self.start + (0 if self.tile_data is None else self.row * len(self.tile_data))

    def ranges(self, boxes: np.ndarray) -> Ranges:
        """Return the ranges of bytes, sorted, that hold the pixels of boxes.

        Parameters
        ----------
        boxes
            (N, 4) int array: first and last + 1 column, first and last + 1 row of each; inside the
            image.
        """
        if self.tile_data is None:
            width = self.shape[1]
            return sorted(
                (
                    self.start + (y * width + x0) * self.pixel,
                    self.start + (y * width + x1) * self.pixel,
                )
                for x0, x1, y0, y1 in boxes.tolist()
                for y in range(y0, y1)
            )
        data = self.tile_data[touched_tiles(boxes, self.shape, self.tile).ravel()].reshape(-1, 2)
        data = data[data[:, 1] > 0]
        return sorted(zip(data[:, 0].tolist(), data.sum(axis=1).tolist(), strict=True))

    def clear_other_tiles(self, file: BinaryIO, boxes: np.ndarray) -> None:
        """Clear the entries of tiles that no box touches, so that none is read by mistake.

        The checksums of the whole image are cleared as well.

        Parameters
        ----------
        file
            The local file, open for reading and writing.
        boxes
            (N, 4) int array.
        """
        file.seek(self.header_start)
        header = bytearray(file.read(self.start - self.header_start))
        for i in range(0, len(header), 80):
            if header[i : i + 8] in (b"CHECKSUM", b"DATASUM "):
                header[i : i + 80] = b" " * 80
        file.seek(self.header_start)
        file.write(header)
        if self.tile_data is None:
            return
        others = ~touched_tiles(boxes, self.shape, self.tile).ravel()
        size = self.row * len(others)
        file.seek(self.start)
        table = np.frombuffer(bytearray(file.read(size)), np.uint8).reshape(-1, self.row)
        for offset, dtype in self.descriptors:
            table[others, offset : offset + dtype.itemsize] = 0
        file.seek(self.start)
        file.write(table.tobytes())


def read_layout(path: str | os.PathLike[str], available: int, size: int) -> Layout:
    """Read the layout of a file's first two-dimensional image.

    Parameters
    ----------
    path
        Local file, with at least the first part of the whole one.
    available
        Length of that part, bytes.
    size
        Length of the whole file; of a file compressed as a whole, without that compression.

    Raises
    ------
    MoreNeeded
        The first part is too short.
    LenspipeError
        The file is no FITS file, has no image, or its header states more than its size.
    """
    with open_unzipped(path) as file:
        data = file.read(available)
    with warnings.catch_warnings(), reading(path):
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            return _find_image(path, data, size)
        except MoreNeeded as error:
            needed = error
    raise needed


def _find_image(path: str | os.PathLike[str], data: bytes, size: int) -> Layout:
    start = 0
    while start < size:
        header, data_start = _header(data, start, size, path)
        if not 0 <= header.get("NAXIS", 0) <= _MAX_AXES:
            raise LenspipeError(f"{path}: garbled header: found {header['NAXIS']} axes")
        naxes = [header.get(f"NAXIS{i}", 0) for i in range(1, header.get("NAXIS", 0) + 1)]
        if min(naxes, default=0) < 0 or header.get("PCOUNT", 0) < 0:
            raise LenspipeError(f"{path}: garbled header: found axes of {naxes}")
        pixel = abs(header.get("BITPIX", 8)) // 8
        body = pixel * (header.get("PCOUNT", 0) + math.prod(naxes)) if naxes else 0
        end = data_start + -(-body // BLOCK) * BLOCK
        compressed = header.get("ZIMAGE", False) and header.get("ZNAXIS") == 2
        plain = header.get("XTENSION", "IMAGE").strip() == "IMAGE" and len(naxes) == 2
        if compressed or plain:
            if end > size:
                raise LenspipeError(f"{path}: truncated: found {size} bytes, expected {end}")
            if compressed:
                layout = _compressed_layout(data, header, data_start, end, path)
            else:
                layout = Layout(header, end, (naxes[1], naxes[0]), data_start, pixel=pixel)
            layout.header_start = start
            return layout
        start = end
    raise LenspipeError(f"{path}: found no image, expected one")


def _header(
    data: bytes, start: int, size: int, path: str | os.PathLike[str]
) -> tuple[fits.Header, int]:
    """Parse the header at an offset; return it and the start of its data."""
    block = start
    while True:
        if block + BLOCK > min(len(data), size):
            if block + BLOCK > size:
                raise LenspipeError(f"{path}: truncated: it ends within a header")
            raise MoreNeeded(block + BLOCK)
        cards = data[block : block + BLOCK]
        if block == start and not cards.startswith((b"SIMPLE  =", b"XTENSION=")):
            raise LenspipeError(f"{path}: not a FITS file: it begins with {cards[:9]!r}")
        block += BLOCK
        if any(cards[i : i + 8] == b"END     " for i in range(0, BLOCK, 80)):
            break
    return fits.Header.fromstring(data[start:block].decode("ascii")), block


def _compressed_layout(
    data: bytes, header: fits.Header, start: int, end: int, path: str | os.PathLike[str]
) -> Layout:
    """Read the table of a tile-compressed image (FITS standard 4.0, sections 7.3.5 and 10.1)."""
    row, rows = header["NAXIS1"], header["NAXIS2"]
    if start + row * rows > len(data):
        raise MoreNeeded(start + row * rows)
    heap = start + header.get("THEAP", row * rows)
    numbers = range(1, header["TFIELDS"] + 1)
    formats = [(header[f"TTYPE{i}"], header[f"TFORM{i}"].strip()) for i in numbers]
    dtype = fits.ColDefs([fits.Column(*each) for each in formats]).dtype.newbyteorder(">")
    if dtype.itemsize != row:
        raise LenspipeError(f"{path}: found rows of {row} bytes, expected {dtype.itemsize}")
    table = np.frombuffer(data, dtype, rows, start)
    columns, descriptors = [], []
    for name, column_format in formats:
        if match := _DESCRIPTOR.match(column_format):
            entry = table[name].astype(np.int64)
            length = entry[:, 0] * _ITEM_BYTES[match[1]]
            columns.append(np.stack([heap + entry[:, 1], length], axis=1))
            descriptors.append((dtype.fields[name][1], dtype.fields[name][0]))
    tile_data = np.stack(columns, axis=1)
    if (tile_data < 0).any() or (tile_data.sum(axis=2) > end).any():
        raise LenspipeError(f"{path}: garbled table: tiles beyond the end of the image")
    shape = (header["ZNAXIS2"], header["ZNAXIS1"])
    tile = (header.get("ZTILE2", 1), header.get("ZTILE1", shape[1]))
    if min(shape) < 1 or min(tile) < 1:
        raise LenspipeError(f"{path}: garbled header: found tiles of {tile} in an image of {shape}")
    expected = -(-shape[0] // tile[0]) * -(-shape[1] // tile[1])
    if rows != expected:
        raise LenspipeError(
            f"{path}: found {rows} tiles of {tile}, expected {expected} in an image of {shape}"
        )
    return Layout(header, end, shape, start, tile, tile_data, descriptors, row)
