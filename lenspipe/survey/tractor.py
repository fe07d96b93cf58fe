"""Reading of the survey's catalogues: Tractor files and sweeps of all releases in one form."""

import numpy as np
import pandas as pd

from lenspipe.config.releases import MASKBITS
from lenspipe.products.parent import parent_columns
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import read_fits_table

__all__ = [
    "absent_columns",
    "catalog_columns",
    "magnitude",
    "read_tractor",
    "tractor_table",
]

#: Order of the bands in the vector columns of the earliest releases (``decam_flux``).
_DECAM_BANDS = "ugrizy"

#: Columns that must be there, besides those per band and those of shape and masks.
_NEEDED = ("brickid", "brickname", "objid", "ra", "dec", "type")

_SHAPE = ("r", "e1", "e2")


def read_tractor(path, release, bands, region=""):
    """Read a Tractor catalogue or sweep of any release into one form.

    To DR8 a shape is that of the type: de Vaucouleurs for DEV, exponential for EXP, REX and SIMP,
    the brighter of the two for COMP. Of the MASKBITS, DR7 knows BRIGHT only. The magnitude in z is
    there whatever the bands, since the parent sample is cut by it.

    Parameters
    ----------
    path : str or path-like
    release : lenspipe.config.releases.Release or None
        The release that the file must be of; None takes any, back to DR1, and does without masks
        where there are none.
    bands : iterable of str
        Bands to read.
    region : str
        Value of the column ``region``.

    Returns
    -------
    pandas.DataFrame
        `parent_columns`, then ``brick_primary`` (bool; all true in a sweep, which has primary
        objects only). NaN: magnitude of a flux that is not positive, ``sersic`` of other types
        than SER, and depth, seeing or reddening that the release does not give.

    Raises
    ------
    LenspipeError
        The file can't be read, is of another release, or lacks a column that is needed.
    """
    needed, optional = catalog_columns(bands)
    return tractor_table(read_fits_table(path, needed, optional), path, release, bands, region)


def catalog_columns(bands):
    """List the columns of a catalogue that a parent sample is made from, in any release.

    Parameters
    ----------
    bands : iterable of str

    Returns
    -------
    needed, optional : list of str
        In lower case; `absent_columns` says which of the optional ones a release needs.
    """
    bands = tuple(bands)
    optional = ["release", "brick_primary", "maskbits", "brightstarinblob", "fracdev", "sersic"]
    optional += ["ebv", "decam_flux", "decam_nobs", "decam_galdepth"]
    optional += [f"{name}_{part}" for name in ("shape", "shapedev", "shapeexp") for part in _SHAPE]
    optional += [f"flux_{band}" for band in dict.fromkeys((*bands, "z"))]
    optional += [f"{kind}_{band}" for kind in ("nobs", "galdepth", "psfsize") for band in bands]
    return list(_NEEDED), optional


def magnitude(flux):
    """Turn fluxes into AB magnitudes.

    Parameters
    ----------
    flux : array
        Nanomaggies.

    Returns
    -------
    array
        NaN where the flux is not positive.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, 22.5 - 2.5 * np.log10(flux), np.nan)


def tractor_table(found, where, release, bands, region=""):
    """Bring columns of a catalogue of any release into one form.

    Parameters
    ----------
    found : dict
        Name in lower case -> (N,) array: those of `catalog_columns` that there are.
    where : str or path-like
        What they were read from, for errors.
    release, bands, region
        As in `read_tractor`.

    Returns
    -------
    pandas.DataFrame
        As of `read_tractor`.

    Raises
    ------
    LenspipeError
        Another release, or a column that is needed is absent.
    """
    bands = tuple(bands)
    for kind in ("flux", "nobs", "galdepth"):
        if (vector := found.get(f"decam_{kind}")) is not None:
            for index, band in enumerate(_DECAM_BANDS):
                found[f"{kind}_{band}"] = vector[:, index]
    _require(where, found, release, bands)

    number = len(found["objid"])
    blank = np.full(number, np.nan, np.float32)
    kinds = np.char.strip(found["type"])
    data = {name: found[name] for name in ("brickid", "objid", "ra", "dec")}
    data["release"] = found.get("release", np.zeros(number, np.int16))
    data |= {"brick": np.char.strip(found["brickname"]), "region": region, "type": kinds}
    for band in dict.fromkeys((*bands, "z")):
        data[f"mag_{band}"] = magnitude(found[f"flux_{band}"])
    data |= _shapes(found, kinds)
    data["sersic"] = np.where(kinds == "SER", found.get("sersic", blank), np.nan)
    for band in bands:
        data[f"nobs_{band}"] = found[f"nobs_{band}"]
        for kind in ("galdepth", "psfsize"):
            data[f"{kind}_{band}"] = found.get(f"{kind}_{band}", blank)
    bright = found.get("brightstarinblob", np.zeros(number, bool)).astype(bool)
    data["maskbits"] = found.get("maskbits", bright * (1 << MASKBITS["BRIGHT"]))
    data["ebv"] = found.get("ebv", blank)
    identity = zip(data["release"], found["brickid"], found["objid"], strict=True)
    data["id"] = [f"{a}-{b}-{c}" for a, b, c in identity]
    columns = parent_columns(bands)
    table = pd.DataFrame(data, index=range(number))[list(columns)].astype(columns)
    table["brick_primary"] = found.get("brick_primary", np.ones(number, bool)).astype(bool)
    return table


def absent_columns(names, release, bands):
    """List which columns a catalogue lacks that a parent sample can't do without.

    Parameters
    ----------
    names : container of str
        Columns that are there, in lower case.
    release : lenspipe.config.releases.Release or None
        As in `read_tractor`.
    bands : iterable of str

    Returns
    -------
    list of str
    """
    needed = [*_NEEDED, *(f"flux_{band}" for band in dict.fromkeys((*bands, "z")))]
    needed += [f"nobs_{band}" for band in bands]
    shape = release.shape if release else ("sersic" if "shape_r" in names else "devexp")
    if shape == "sersic":
        needed += ["sersic", *(f"shape_{part}" for part in _SHAPE)]
    else:
        needed += [f"{name}_{part}" for name in ("shapedev", "shapeexp") for part in _SHAPE]
        needed += ["fracdev"]
    if release and "maskbits" not in names:
        needed += ["maskbits" if release.maskbits else "brightstarinblob"]
    return [name for name in needed if name not in names]


def _require(where, found, release, bands):
    """Refuse a catalogue of another release, or one without what the cuts need."""
    if absent := absent_columns(found, release, bands):
        raise LenspipeError(
            f"{where}: no column {', '.join(absent)}; expected a catalogue of "
            f"{release.name if release else 'the Legacy Surveys'}; check config key survey.release"
        )
    if release:
        # 9010, 9011 and 9012 are DR9, 10000 and above DR10.
        others = set(found.get("release", ())) - {0}
        others = {number for number in others if f"dr{number // 1000}" != release.name}
        if others:
            raise LenspipeError(
                f"{where}: found release {min(others)}, expected {release.name}; check config keys "
                "survey.release and survey.tree"
            )


def _shapes(found, kinds):
    """Return half-light radius (arcsec) and ellipticities, whichever way the release has them."""
    if "shape_r" in found:
        return {f"shape_{part}": found[f"shape_{part}"] for part in _SHAPE}
    dev = (kinds == "DEV") | ((kinds == "COMP") & (found["fracdev"] >= 0.5))
    return {
        f"shape_{part}": np.where(dev, found[f"shapedev_{part}"], found[f"shapeexp_{part}"])
        for part in _SHAPE
    }
