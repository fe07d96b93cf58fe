"""Tractor catalogues of the simulated sky, with every column of DR9 in its type."""

import csv
import functools
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.simulation.dust import transmission
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.psf import GALDEPTH_RADIUS_ARCSEC, noise_area
from lenspipe.simulation.survey import MASK_BITS, PIXEL_SCALE_ARCSEC
from lenspipe.utils.files import atomic
from lenspipe.utils.fits import create_fits

__all__ = ["RELEASE_NUMBER", "depths", "flux_ivar", "tractor_columns", "write_tractor"]

#: Value of the ``release`` column in each region.
RELEASE_NUMBER = {"south": 9010, "north": 9011}

_TYPES = {
    "boolean": "?",
    "bool": "?",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint8": "u1",
    "float32": "f4",
    "float64": "f8",
    "char": "S",
}


@functools.cache
def tractor_columns() -> tuple[np.dtype, list[str]]:
    """List the columns of a DR9 Tractor catalogue.

    Return names and types in the order of the catalogue
    (https://www.legacysurvey.org/dr9/catalogs/), and the unit of each column, empty if it has none.
    """
    text = resources.files("lenspipe.simulation").joinpath("tractor_dr9.csv").read_text()
    fields: list[tuple[Any, ...]] = []
    units = []
    for row in csv.DictReader(text.splitlines()):
        base, _, length = row["dtype"].rstrip("]").partition("[")
        if base == "char":
            fields.append((row["column"], f"S{length}"))
        elif length:
            fields.append((row["column"], _TYPES[base], (int(length),)))
        else:
            fields.append((row["column"], _TYPES[base]))
        units.append(row["unit"])
    return np.dtype(fields), units


def depths(fwhm_arcsec: ArrayLike, sigma: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Inverse variance of the flux of a point source and of a small round galaxy, nanomaggy^-2.

    The survey's psfdepth and galdepth; `sigma` is the noise per pixel.
    """
    sky = np.asarray(sigma) ** 2 / PIXEL_SCALE_ARCSEC**2
    radii = (0.0, GALDEPTH_RADIUS_ARCSEC)
    psf, galaxy = (1 / (noise_area(fwhm_arcsec, radius) * sky) for radius in radii)
    return psf, galaxy


def flux_ivar(fwhm_arcsec: ArrayLike, sigma: ArrayLike, half_light_arcsec: ArrayLike) -> np.ndarray:
    """Inverse variance of the flux of a source, as if it and the PSF were Gaussian, nanomaggy^-2.

    `sigma` is the noise per pixel.
    """
    s, sigma = np.asarray(fwhm_arcsec) / 2.355 / PIXEL_SCALE_ARCSEC, np.asarray(sigma)
    width = np.hypot(s, np.asarray(half_light_arcsec) / 1.18 / PIXEL_SCALE_ARCSEC)
    return 1 / (4 * np.pi * width**2 * sigma**2)


def write_tractor(
    path: str | os.PathLike[str],
    rng: np.random.Generator,
    sources: pd.DataFrame,
    brick: Mapping[str, Any],
    region: str,
    maps: Mapping[str, Any],
    noise: Mapping[str, float],
) -> None:
    """Measure sources as Tractor would, with errors, and write their catalogue.

    Columns that a lens search does not use (WISE, Gaia, apertures) are zero.

    Parameters
    ----------
    rng
        For the errors.
    sources
        As drawn, in the order of the catalogue, with ``bx``, ``by`` (pixels from 0), ``primary``
        and ``ebv``.
    brick
        ``brickname``, ``brickid``.
    maps
        ``maskbits`` and, by band, ``nexp``, ``psfsize`` and ``invvar`` of the brick; the last also
        where pixels are saturated.
    noise
        By band, noise of sums over many pixels relative to what ``invvar`` says.
    """
    dtype, units = tractor_columns()
    n = len(sources)
    table = np.zeros(n, dtype)
    table["release"] = RELEASE_NUMBER[region]
    table["brickid"] = brick["brickid"]
    table["brickname"] = brick["brickname"]
    table["objid"] = np.arange(n)
    table["brick_primary"] = sources["primary"]
    table["type"] = sources["type"].to_numpy().astype("S3")
    table["ra"], table["dec"] = sources["ra"], sources["dec"]
    table["bx"], table["by"] = sources["bx"], sources["by"]
    table["ebv"] = sources["ebv"]
    table["mjd_min"], table["mjd_max"] = 57000.0, 58600.0
    column = sources["bx"].round().astype(int).clip(0, maps["maskbits"].shape[1] - 1).to_numpy()
    row = sources["by"].round().astype(int).clip(0, maps["maskbits"].shape[0] - 1).to_numpy()
    table["maskbits"] = maps["maskbits"][row, column]
    snr = np.zeros(n)
    for band in BANDS:
        exposures = maps["nexp"][band][row, column]
        fwhm, invvar = (maps[kind][band][row, column] for kind in ("psfsize", "invvar"))
        observed = exposures > 0
        # Where there are no data these values stand in, and what is measured becomes zero.
        fwhm, invvar = np.where(observed, fwhm, 1), np.where(observed, invvar, 1)
        sigma = noise[band] / np.sqrt(invvar)
        radius = sources["r_half"].to_numpy()
        psf_depth, galaxy_depth = depths(fwhm, sigma)
        ivar = flux_ivar(fwhm, sigma, radius)
        true = sources[f"flux_{band}"].to_numpy()
        # Models never fit perfectly: 2 % in addition to the noise.
        error = np.sqrt(1 / ivar + (0.02 * true) ** 2)
        flux = true + error * rng.standard_normal(n)
        table[f"flux_{band}"] = np.where(observed, flux, 0)
        table[f"flux_ivar_{band}"] = np.where(observed, ivar, 0)
        fibre = 1 / (1 + (np.hypot(radius, fwhm / 2.355) / 0.75) ** 2)
        table[f"fiberflux_{band}"] = flux * fibre * observed
        table[f"fibertotflux_{band}"] = table[f"fiberflux_{band}"]
        table[f"nobs_{band}"] = exposures
        table[f"psfsize_{band}"] = fwhm * observed
        table[f"psfdepth_{band}"] = psf_depth * observed
        table[f"galdepth_{band}"] = galaxy_depth * observed
        table[f"rchisq_{band}"] = 1 + np.abs(0.05 * rng.standard_normal(n))
        table[f"fracin_{band}"] = 1.0
        saturated = table["maskbits"] & (1 << MASK_BITS[f"SATUR_{band.upper()}"]) > 0
        table[f"allmask_{band}"] = np.where(saturated, 2, 0)
        table[f"anymask_{band}"] = table[f"allmask_{band}"]
        table[f"nea_{band}"] = 4 * np.pi * (fwhm / 2.355) ** 2
        table[f"mw_transmission_{band}"] = transmission(sources["ebv"].to_numpy(), band)
        snr = np.maximum(snr, np.abs(flux) * np.sqrt(ivar) * observed)
    table["ra_ivar"] = table["dec_ivar"] = (snr.clip(1) / (1.0 / 3600)) ** 2
    extended = table["type"] != b"PSF"
    round_ = table["type"] == b"REX"
    scatter = (1.0 / snr.clip(3)).clip(0.01, 0.3)
    modulus = np.hypot(sources["e1"], sources["e2"]).to_numpy().clip(0, 0.9)
    # Radii are along the major axis; those of round models along the mean of the axes.
    stretch = np.where(round_, 1, np.sqrt((1 + modulus) / (1 - modulus)))
    radius = sources["r_half"].to_numpy() * stretch * np.exp(scatter * rng.standard_normal(n))
    table["shape_r"] = np.where(extended, radius, 0)
    table["shape_r_ivar"] = np.where(extended, 1 / (scatter * radius.clip(0.05)) ** 2, 0)
    for name in ("e1", "e2"):
        value = (sources[name].to_numpy() + scatter * rng.standard_normal(n)).clip(-0.9, 0.9)
        table[f"shape_{name}"] = np.where(extended & ~round_, value, 0)
        table[f"shape_{name}_ivar"] = np.where(extended & ~round_, scatter**-2.0, 0)
    index = np.select(
        [table["type"] == b"DEV", table["type"] == b"SER", extended],
        [4.0, (sources["sersic"] * np.exp(0.5 * scatter * rng.standard_normal(n))).clip(0.5, 6), 1],
        0.0,
    )
    table["sersic"] = index
    table["sersic_ivar"] = np.where(table["type"] == b"SER", (scatter * index.clip(0.5)) ** -2.0, 0)
    header = [
        {"name": "LSDR", "value": "DR9", "comment": "Data release number"},
        {"name": "BRICK", "value": brick["brickname"], "comment": "LegacySurveys brick"},
        {"name": "BRICKID", "value": int(brick["brickid"]), "comment": "LegacySurveys brick id"},
        {"name": "SIMULATD", "value": True, "comment": "A simulated sky, not the real one"},
    ]
    with atomic(path) as temporary, create_fits(temporary) as handle:
        handle.write(table, header=header, units=units)
