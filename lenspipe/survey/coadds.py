"""Reading of sections of coadded images."""

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
from astropy.wcs import WCS

from lenspipe.config.surveys.base import Release
from lenspipe.retrieval.tiles import BLOCK, Layout, MoreNeeded, read_layout
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import check_sums, clip_boxes, open_fits, open_unzipped, reading, wcs_of

__all__ = ["BrickCoadds", "read_geometry", "read_stamps"]

#: CFITSIO's numbers of pixel types, including those scaled to unsigned integers.
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

#: Number of bytes of a coadd that are read at first for its layout.
_FIRST_BYTES = 21 * BLOCK

#: Maximum deviation of a coadd from the grid of its brick, pixels.
_MAX_OFFSET = 0.1

#: Kinds of numbers in coadds.
_KINDS = {"image": "f", "invvar": "f", "maskbits": "iu"}

_ZTILE = re.compile(rb"ZTILE([12]) *= *(\d+)")


def read_geometry(path: str | os.PathLike[str]) -> tuple[WCS, tuple[int, int]]:
    """Read the world coordinates and the shape (rows, columns) of a coadd of any kind.

    Raises
    ------
    LenspipeError
        The file cannot be read, or has no image or no world coordinates.
    """
    layout, _ = _read_layout(path)
    return wcs_of(layout.header, path), layout.shape


def _read_layout(path: str | os.PathLike[str]) -> tuple[Layout, np.dtype]:
    """Read layout and type of a coadd, and compare its image with the checksums it may have."""
    path = Path(path)
    with reading(path), open_fits(path) as fits:
        image = _image(fits, path)
        with open_unzipped(path) as file:
            size = file.seek(0, os.SEEK_END)
        available, layout = _FIRST_BYTES, None
        while layout is None:
            try:
                layout = read_layout(path, available, size)
            except MoreNeeded as need:
                available = need.stop
            except LenspipeError as error:
                raise LenspipeError(f"{error}; download it again") from None
        check_sums(image, layout.header, path)
        return layout, _dtype(image)


def _dtype(image: fitsio.hdu.ImageHDU) -> np.dtype:
    return np.dtype(_DTYPES[image.get_info()["img_equiv_type"]])


@dataclass
class BrickCoadds:
    """The coadds of a brick, which all have to be its own and on its grid of pixels.

    Attributes
    ----------
    brick
    release
    shape
        Rows and columns of the coadds; None until the first is read.
    """

    brick: str
    release: Release
    shape: tuple[int, int] | None = None

    def read_geometry(
        self, path: str | os.PathLike[str], kind: str, band: str | None
    ) -> tuple[WCS, tuple[int, int]]:
        """Read the geometry of a coadd and check that it is the right one.

        A header may name brick, kind and band (BRICK or, in older releases, BRICKNAM; IMTYPE;
        FILTERX). The reference pixel is in the middle of the image, at the centre of the brick.

        Parameters
        ----------
        kind, band
            As in `lenspipe.config.surveys.base.SurveyPaths.coadd`.

        Returns
        -------
        wcs, shape
            As returned by the function `read_geometry`.

        Raises
        ------
        LenspipeError
            The file cannot be read, is of another brick, kind or band, has another shape than the
            coadds before or another type than its kind, or is not on the grid of the brick.
        """
        layout, dtype = _read_layout(path)
        shape = self.shape = self.shape or layout.shape
        with reading(path):
            names = {"BRICK": self.brick, "BRICKNAM": self.brick}
            names |= {"IMTYPE": kind, "FILTERX": band} if band else {}
            for key, name in names.items():
                if key in layout.header and str(layout.header[key]).strip() != name:
                    raise self._error(path, key, str(layout.header[key]).strip(), name)
            if layout.shape != shape:
                raise self._error(path, "shape", layout.shape, shape)
            if dtype.kind not in _KINDS.get(kind, "iuf"):
                expected = "whole" if kind == "maskbits" else "floating-point"
                raise self._error(path, "pixels of type", dtype, f"{expected} numbers")
            wcs = wcs_of(layout.header, path)
            self._check_wcs(path, wcs, shape)
        return wcs, shape

    def _check_wcs(self, path: str | os.PathLike[str], wcs: WCS, shape: tuple[int, int]) -> None:
        ra, dec = brick_grid(self.release.brick_deg).centre(self.brick)
        expected = brick_wcs(ra, dec, self.release)
        for i, ctype in enumerate(expected.wcs.ctype):
            if wcs.wcs.ctype[i] != ctype:
                raise self._error(path, f"CTYPE{i + 1}", wcs.wcs.ctype[i], ctype)
        step_deg = self.release.pixel_scale_arcsec / 3600
        across = np.array([np.cos(np.radians(dec)), 1])
        middle = (np.array(shape[::-1]) + 1) / 2
        scale, expected_scale = wcs.pixel_scale_matrix, expected.pixel_scale_matrix
        # The offset in pixels that each key makes somewhere in the image.
        for key, found, right, pixels in (
            ("CRVAL", wcs.wcs.crval, expected.wcs.crval, across / step_deg),
            ("CRPIX", wcs.wcs.crpix, middle, np.ones(2)),
            ("CD", scale, expected_scale, np.full((2, 2), max(shape) / step_deg)),
        ):
            offset = found - right
            if key == "CRVAL":
                offset[0] = (offset[0] + 180) % 360 - 180
            # Written so that a NaN differs, too.
            differs = ~(np.abs(offset) * pixels <= _MAX_OFFSET)
            if differs.any():
                index = tuple(np.argwhere(differs)[0])
                name = key + "_".join(str(i + 1) for i in index)
                raise self._error(path, name, f"{found[index]:.10g}", f"{right[index]:.10g}")

    def _error(
        self, path: str | os.PathLike[str], key: str, found: object, expected: object
    ) -> LenspipeError:
        return LenspipeError(
            f"{path}: found {key} {found}, expected {expected} in brick {self.brick}; download it "
            "again"
        )


def read_stamps(
    path: str | os.PathLike[str], x: np.ndarray, y: np.ndarray, size: int, fill: float
) -> np.ndarray:
    """Read square sections of an image; of its tiles only those that they touch are decoded.

    Parameters
    ----------
    path
        Coadd, compressed or not.
    x, y
        (N,) arrays of int: column and row of the central pixels, from 0; may lie outside the image.
    size
        Side, pixels; odd.
    fill
        Value of pixels outside the image.

    Returns
    -------
    (N, size, size) array
        Of the image's type.

    Raises
    ------
    LenspipeError
        The file cannot be read or has no image.
    """
    with open_fits(path) as fits:
        hdu = _image(fits, path)
        shape = hdu.get_dims()
        boxes = clip_boxes(x, y, size, shape)
        stamps = np.full((len(x), size, size), fill, _dtype(hdu))
        corners = np.stack([x, y], axis=1) - size // 2
        for (x0, x1, y0, y1), members in _sections(boxes, shape, _tile(path, hdu)):
            section = hdu[y0:y1, x0:x1]
            if threading.current_thread() is not threading.main_thread():
                # CFITSIO has held the interpreter's lock: give it to threads that fetch files.
                time.sleep(0)
            for i in members:
                (left, bottom), (begin, end, low, high) = corners[i].tolist(), boxes[i].tolist()
                pixels = section[low - y0 : high - y0, begin - x0 : end - x0]
                stamps[i, low - bottom : high - bottom, begin - left : end - left] = pixels
    return stamps


def _sections(
    boxes: np.ndarray, shape: tuple[int, int], tile: tuple[int, int]
) -> Iterator[tuple[tuple[int, int, int, int], list[int]]]:
    """Yield sections made of whole tiles that boxes touch, and the indices of these boxes.

    Neighbours in the same rows of tiles make one section, since the overhead of a call of CFITSIO
    is that of decoding half a tile. CFITSIO keeps the last tile of each column, so that in this
    order none is decoded twice where a box touches two rows of tiles.
    """
    first = boxes[:, ::2] // tile[::-1]
    last = (boxes[:, 1::2] - 1) // tile[::-1]
    inside = (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])
    order = np.lexsort((first[:, 0], last[:, 1], first[:, 1]))
    groups: list[list[Any]] = []
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


def _tile(path: str | os.PathLike[str], hdu: fitsio.hdu.ImageHDU) -> tuple[int, int]:
    """Rows and columns of a tile, or of the section that is read at once of an image without."""
    if hdu.get_comptype() is None:
        return (100, 100)
    # CFITSIO and astropy take longer to read all of a header than to decode ten tiles.
    offsets = hdu.get_offsets()
    with open_unzipped(path) as file:
        file.seek(offsets["header_start"])
        header = file.read(offsets["data_start"] - offsets["header_start"])
    sides = {int(axis): int(side) for axis, side in _ZTILE.findall(header)}
    return (sides.get(2, 1), sides.get(1, hdu.get_dims()[1]))


def _image(fits: fitsio.FITS, path: str | os.PathLike[str]) -> fitsio.hdu.ImageHDU:
    """Return the first HDU with a two-dimensional image: 1 in the survey's files, 0 in others."""
    for hdu in fits:
        if hdu.get_exttype() == "IMAGE_HDU" and len(hdu.get_dims()) == 2:
            return hdu
    raise LenspipeError(f"{path}: found no image, expected one; download it again")
