"""The survey's catalogues: Tractor files and sweeps of all releases, in one form."""

import os
from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.surveys.base import Release
from lenspipe.products.tables import parent_columns
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError

__all__ = [
    "absent_columns",
    "catalog_columns",
    "tractor_table",
]

#: Columns that are required, besides those for each band and those of shape and masks.
_NEEDED = ("brickid", "brickname", "objid", "ra", "dec", "type")

_SHAPE = ("r", "e1", "e2")

_TEXT = ("brickname", "type")

#: Columns of whole numbers or truth values; all others are numbers.
_WHOLE = ("brickid", "objid", "release", "maskbits", "brick_primary", "brightstarinblob")


def catalog_columns(bands: Iterable[str]) -> tuple[list[str], list[str]]:
    """List the columns of a catalogue that a parent sample is made from, in any release.

    Returns
    -------
    needed, optional
        In lower case; `absent_columns` says which of the optional ones a release needs.
    """
    bands = tuple(bands)
    optional = ["release", "brick_primary", "maskbits", "brightstarinblob", "fracdev", "sersic"]
    optional += ["ebv", "decam_flux", "decam_nobs", "decam_galdepth"]
    optional += [f"{name}_{part}" for name in ("shape", "shapedev", "shapeexp") for part in _SHAPE]
    optional += [f"flux_{band}" for band in dict.fromkeys((*bands, "z"))]
    optional += [f"{kind}_{band}" for kind in ("nobs", "galdepth", "psfsize") for band in bands]
    return list(_NEEDED), optional


def tractor_table(
    columns: Mapping[str, np.ndarray],
    where: str | os.PathLike[str],
    release: Release,
    bands: Iterable[str],
    region: str = "",
    any_release: bool = False,
) -> pd.DataFrame:
    """Bring columns of a Tractor catalogue or sweep of any release into one form.

    Up to DR8 a shape is that of the type: de Vaucouleurs for DEV, exponential for EXP, REX and
    SIMP, the brighter of the two for COMP. Of the mask bits, DR7 knows BRIGHT only. The magnitude
    in z is included whatever the bands, since the parent sample is cut by it.

    Parameters
    ----------
    columns
        Name in lower case -> (N,) array: those of `catalog_columns` that the catalogue has.
    where
        File or service from which they were read, for errors.
    release
        The release that the catalogue must be of.
    region
        Value of the column ``region``.
    any_release
        Accept a catalogue of any release, back to DR1, also without masks.

    Returns
    -------
    pandas.DataFrame
        `parent_columns`, then ``brick_primary`` (bool; all true in a sweep, which has primary
        objects only) and ``valid`` (bool: a position on the sky and finite fluxes). NaN: magnitude
        of a flux that is not positive, ``sersic`` of types other than SER, and depth, seeing or
        reddening that the release does not give.

    Raises
    ------
    LenspipeError
        The catalogue is of another release, or lacks a column that is needed, or one has values of
        another type.
    """
    bands, columns = tuple(bands), dict(columns)
    for kind in ("flux", "nobs", "galdepth"):
        if (vector := columns.pop(f"decam_{kind}", None)) is not None:
            shape = (len(vector), len(release.vector_bands))
            if vector.shape != shape:
                raise LenspipeError(
                    f"{where}: found column decam_{kind} of shape {vector.shape}, expected "
                    f"{shape}; download it again"
                )
            for index, band in enumerate(release.vector_bands):
                columns[f"{kind}_{band}"] = vector[:, index]
    _require(where, columns, release, bands, any_release)
    _check_types(where, columns)

    number = len(columns["objid"])
    blank = np.full(number, np.nan, np.float32)
    types = np.char.strip(columns["type"])
    data: dict[str, Any] = {name: columns[name] for name in ("brickid", "objid", "ra", "dec")}
    data["release"] = columns.get("release", np.zeros(number, np.int16))
    data |= {"brick": np.char.strip(columns["brickname"]), "region": region, "type": types}
    for band in dict.fromkeys((*bands, "z")):
        data[f"mag_{band}"] = to_magnitude(columns[f"flux_{band}"], release.zero_point_mag)
    data |= _shapes(columns, types)
    data["sersic"] = np.where(types == "SER", columns.get("sersic", blank), np.nan)
    for band in bands:
        data[f"nobs_{band}"] = columns[f"nobs_{band}"]
        for kind in ("galdepth", "psfsize"):
            data[f"{kind}_{band}"] = columns.get(f"{kind}_{band}", blank)
    bright = columns.get("brightstarinblob", np.zeros(number, bool)).astype(bool)
    data["maskbits"] = columns.get("maskbits", bright * release.mask(("BRIGHT",)))
    data["ebv"] = columns.get("ebv", blank)
    identity = zip(data["release"], columns["brickid"], columns["objid"], strict=True)
    data["id"] = [f"{a}-{b}-{c}" for a, b, c in identity]
    dtypes = parent_columns(bands)
    for name, dtype in dtypes.items():
        if number and dtype.startswith("int"):
            lowest, highest, limits = np.min(data[name]), np.max(data[name]), np.iinfo(dtype)
            if lowest < limits.min or highest > limits.max:
                raise LenspipeError(
                    f"{where}: found column {name} with values from {lowest} to {highest}, "
                    f"expected {dtype}; download it again"
                )
    table = pd.DataFrame(data, index=range(number))[list(dtypes)].astype(dtypes)
    table["brick_primary"] = columns.get("brick_primary", np.ones(number, bool)).astype(bool)
    fluxes = [columns[f"flux_{band}"] for band in dict.fromkeys((*bands, "z"))]
    # Written so that a NaN is not on the sky.
    on_sky = (table["ra"] >= 0) & (table["ra"] <= 360) & (np.abs(table["dec"]) <= 90)
    table["valid"] = on_sky & np.isfinite(fluxes).all(axis=0)
    return table


def _check_types(where: str | os.PathLike[str], columns: Mapping[str, np.ndarray]) -> None:
    """Raise an error for a column that does not hold one value of the right type for each row."""
    for name, values in columns.items():
        expected, kinds = "numbers", "iufb"
        if name in _TEXT:
            expected, kinds = "text", "SU"
        elif name in _WHOLE or name.startswith("nobs_"):
            expected, kinds = "whole numbers", "iub"
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in kinds:
            shape = "" if array.ndim == 1 else f" in the shape {array.shape}"
            raise LenspipeError(
                f"{where}: found column {name} of type {array.dtype}{shape}, expected {expected}, "
                "one for each row; download it again"
            )


def absent_columns(
    names: Container[str], release: Release, bands: Iterable[str], any_release: bool = False
) -> list[str]:
    """List the columns that a catalogue lacks and that a parent sample needs.

    Parameters
    ----------
    names
        Columns of the catalogue, in lower case.
    release, bands, any_release
        As in `tractor_table`.
    """
    bands = tuple(bands)
    needed = [*_NEEDED, *(f"flux_{band}" for band in dict.fromkeys((*bands, "z")))]
    needed += [f"nobs_{band}" for band in bands]
    shape = release.shape
    if any_release:
        shape = "sersic" if "shape_r" in names else "devexp"
    if shape == "sersic":
        needed += ["sersic", *(f"shape_{part}" for part in _SHAPE)]
    else:
        needed += [f"{name}_{part}" for name in ("shapedev", "shapeexp") for part in _SHAPE]
        needed += ["fracdev"]
    if not any_release and "maskbits" not in names:
        needed += ["maskbits" if release.maskbits else "brightstarinblob"]
    return [name for name in needed if name not in names]


def _require(
    where: str | os.PathLike[str],
    columns: Mapping[str, np.ndarray],
    release: Release,
    bands: tuple[str, ...],
    any_release: bool,
) -> None:
    """Raise an error for a catalogue of another release, or without columns that are needed."""
    if absent := absent_columns(columns, release, bands, any_release):
        expected = release.survey if any_release else release.name
        raise LenspipeError(
            f"{where}: no column {', '.join(absent)}; expected a catalogue of {expected}; check "
            "config key survey.release"
        )
    numbers = set(columns.get("release", ())) - {0}
    wrong = {number for number in numbers if number not in release.numbers}
    if wrong and not any_release:
        raise LenspipeError(
            f"{where}: found release {min(wrong)}, expected {release.name}; check config keys "
            "survey.release and survey.tree"
        )


def _shapes(columns: Mapping[str, np.ndarray], types: np.ndarray) -> dict[str, np.ndarray]:
    """Return half-light radius (arcsec) and ellipticities, in either form."""
    if "shape_r" in columns:
        return {f"shape_{part}": columns[f"shape_{part}"] for part in _SHAPE}
    dev = (types == "DEV") | ((types == "COMP") & (columns["fracdev"] >= 0.5))
    return {
        f"shape_{part}": np.where(dev, columns[f"shapedev_{part}"], columns[f"shapeexp_{part}"])
        for part in _SHAPE
    }
