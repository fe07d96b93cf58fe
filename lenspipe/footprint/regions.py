"""The footprint: which bricks have their centre in the region of the sky to be searched."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
from astropy_healpix import lonlat_to_healpix
from mocpy import MOC
from numpy.typing import ArrayLike

from lenspipe.config.data import Footprint
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import is_brick_name
from lenspipe.utils.user_tables import read_text, read_user_table

__all__ = ["in_footprint", "in_polygon", "named_bricks"]


def in_footprint(footprint: Footprint, ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Return which positions (degrees) meet all conditions of a footprint on the position.

    Raises
    ------
    LenspipeError
        The coverage map that ``footprint.moc`` names cannot be read.
    """
    ra, dec = np.asarray(ra, float), np.asarray(dec, float)
    (ra0, ra1), (dec0, dec1) = footprint.ra, footprint.dec
    inside = (ra >= ra0) & (ra <= ra1) if ra0 <= ra1 else (ra >= ra0) | (ra <= ra1)
    inside &= (dec >= dec0) & (dec <= dec1)
    if footprint.polygon is not None:
        inside &= in_polygon(footprint.polygon, ra, dec)
    if (cells := footprint.healpix) is not None:
        cell = lonlat_to_healpix(ra * u.deg, dec * u.deg, cells.nside, order=cells.order)
        inside &= np.isin(cell, cells.cells)
    if footprint.moc is not None:
        inside &= _read_moc(footprint.moc).contains_lonlat(ra * u.deg, dec * u.deg)
    return inside


def in_polygon(
    vertices: Sequence[tuple[float, float]], ra: ArrayLike, dec: ArrayLike
) -> np.ndarray:
    """Return which positions (degrees) lie inside a polygon on the sphere.

    Edges are the shorter arcs of great circles; the vertices may go round either way, and the last
    is joined to the first. Seen from a position inside the polygon, the direction to a point that
    moves along the edges turns by 360 degrees; from one outside the turns cancel. It turns as well
    seen from the antipodes of the inside, which lie in the other half of the sky. Vertices are (ra,
    dec), degrees, all within 90 degrees of their mean direction.
    """
    corners_ra, corners_dec = np.radians(np.asarray(vertices, float)).T
    lon, lat = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    turned, previous = np.zeros(lon.shape), None
    # One vertex at a time, as there may be 662,174 positions.
    for corner_ra, corner_dec in zip(
        np.append(corners_ra, corners_ra[0]), np.append(corners_dec, corners_dec[0]), strict=True
    ):
        offset = corner_ra - lon
        direction = np.arctan2(
            np.sin(offset) * np.cos(corner_dec),
            np.cos(lat) * np.sin(corner_dec) - np.sin(lat) * np.cos(corner_dec) * np.cos(offset),
        )
        if previous is not None:
            turned += (direction - previous + np.pi) % (2 * np.pi) - np.pi
        previous = direction
    middle = _vectors(corners_ra, corners_dec).sum(axis=0)
    return (np.abs(turned) > np.pi) & (_vectors(lon, lat) @ middle > 0)


def _vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def named_bricks(footprint: Footprint) -> set[str] | None:
    """Return the names of the bricks that a footprint lists.

    They are those both in ``bricks`` and in the file ``brick_list`` if both are given; None if
    neither is.

    Raises
    ------
    LenspipeError
        The file cannot be read, or has no names.
    """
    lists = [set(footprint.bricks)] if footprint.bricks is not None else []
    if footprint.brick_list is not None:
        lists.append(_read_names(footprint.brick_list))
    return set.intersection(*lists) if lists else None


def _read_names(path: str) -> set[str]:
    """Read the names of bricks: a table's column, or the first entry of each line."""
    expected = (
        "the name of a brick in each line, such as 1501p320; correct config key "
        "footprint.brick_list"
    )
    table = read_user_table(path, expected)
    column = table.find("brick", "brickname")
    if column is not None:
        table.refuse_broken()
        numbers, cells = list(table.lines), table.text(column)
    else:
        cells = pd.Series(list(io.StringIO(read_text(path, expected), newline=None)), dtype=str)
        numbers = list(range(1, len(cells) + 1))
    firsts = [re.split(r"[,;|\s]+", cell.split("#")[0].strip())[0].strip('"') for cell in cells]
    names = [(number, first) for number, first in zip(numbers, firsts, strict=True) if first]
    for number, name in names:
        if not is_brick_name(name):
            raise LenspipeError(
                f"{path}: {table.noun} {number}: found {name!r}, expected the name of a brick "
                "first, such as 1501p320; correct the line"
            )
    if not names:
        raise LenspipeError(
            f"{path}: found no names, expected that of a brick in each line; add them, or leave "
            "out config key footprint.brick_list"
        )
    return {name for _, name in names}


def _read_moc(path: str) -> MOC:
    """Read a multi-order coverage map (https://www.ivoa.net/documents/MOC/)."""
    file = Path(path)
    try:
        start = file.read_bytes()[:80].lstrip()
        if start.startswith(b"SIMPLE"):
            return MOC.load(file, format="fits")
        if start.startswith(b"{"):
            return MOC.from_json(json.loads(file.read_text()))
        return MOC.from_string(file.read_text(), format="ascii")
    # mocpy raises OSError, ValueError and bare Exception.
    except Exception as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise LenspipeError(
            f"{path}: can't be read ({reason}); expected a multi-order coverage map (MOC) in FITS, "
            "JSON or ASCII; correct config key footprint.moc"
        ) from None
