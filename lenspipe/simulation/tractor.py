"""The simulated sky's Tractor catalogues, with every column of DR9 in its type."""

import csv
import functools
from importlib import resources

import fitsio
import numpy as np

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.simulation.conditions import BANDS
from lenspipe.utils.files import atomic

__all__ = ["RELEASE_NUMBER", "tractor_columns", "write_tractor"]

#: Number of the release in a catalogue's ``release`` column.
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
def tractor_columns():
    """List the columns of a DR9 Tractor catalogue.

    Returns
    -------
    dtype : numpy.dtype
        Names and types in the catalogue's order (https://www.legacysurvey.org/dr9/catalogs/).
    units : list of str
        A unit for each, empty where there is none.
    """
    text = resources.files("lenspipe.simulation").joinpath("tractor_dr9.csv").read_text()
    fields, units = [], []
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


def _depths(fwhm, sigma, half_light_arcsec=0.45):
    """Inverse variance of a point source's and of a small round galaxy's flux.

    Gaussian approximations: the noise-equivalent area is 4 pi s^2.
    """
    s = fwhm / 2.355 / PIXEL_SCALE_ARCSEC
    galaxy = np.hypot(s, half_light_arcsec / 1.18 / PIXEL_SCALE_ARCSEC)
    return 1 / (4 * np.pi * s**2 * sigma**2), 1 / (4 * np.pi * galaxy**2 * sigma**2)


def write_tractor(path, rng, sources, brick, region, maps, conditions):
    """Measure sources as Tractor would, with errors, and write their catalogue.

    Parameters
    ----------
    path : path-like
        The catalogue.
    rng : numpy.random.Generator
        Source of the errors.
    sources : DataFrame
        In the order of the catalogue: as drawn, with ``bx``, ``by`` (pixels from 0) and
        ``primary``.
    brick : mapping
        ``brickname``, ``brickid``, ``ebv``.
    region : {'north', 'south'}
        Which camera.
    maps : dict
        ``maskbits`` and, by band, ``nexp`` and ``invvar`` of the brick.
    conditions : dict
        Band -> `lenspipe.simulation.conditions.Conditions`.

    Notes
    -----
    Columns that nothing in a lens search reads (WISE, Gaia, apertures) are zero.
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
    table["ebv"] = brick["ebv"]
    table["mjd_min"], table["mjd_max"] = 57000.0, 58600.0
    column = sources["bx"].round().astype(int).clip(0, maps["maskbits"].shape[1] - 1).to_numpy()
    row = sources["by"].round().astype(int).clip(0, maps["maskbits"].shape[0] - 1).to_numpy()
    table["maskbits"] = maps["maskbits"][row, column]
    snr = 0.0
    for band in BANDS:
        exposures = maps["nexp"][band][row, column]
        fwhm = conditions[band].fwhm_arcsec
        psf_depth, galaxy_depth = _depths(fwhm, conditions[band].sigma_one / np.sqrt(exposures))
        radius = sources["r_half"].to_numpy()
        ivar = _depths(fwhm, conditions[band].sigma_one / np.sqrt(exposures), radius)[1]
        true = sources[f"flux_{band}"].to_numpy()
        # Models never fit perfectly: 2 % beside the noise.
        error = np.sqrt(1 / ivar + (0.02 * true) ** 2)
        flux = true + error * rng.standard_normal(n)
        table[f"flux_{band}"], table[f"flux_ivar_{band}"] = flux, ivar
        fibre = 1 / (1 + (np.hypot(radius, fwhm / 2.355) / 0.75) ** 2)
        table[f"fiberflux_{band}"] = table[f"fibertotflux_{band}"] = flux * fibre
        table[f"nobs_{band}"] = exposures
        table[f"psfsize_{band}"] = fwhm
        table[f"psfdepth_{band}"], table[f"galdepth_{band}"] = psf_depth, galaxy_depth
        table[f"rchisq_{band}"] = 1 + np.abs(0.05 * rng.standard_normal(n))
        table[f"fracin_{band}"] = 1.0
        table[f"allmask_{band}"] = np.where(maps["invvar"][band][row, column] > 0, 0, 2)
        table[f"anymask_{band}"] = table[f"allmask_{band}"]
        table[f"nea_{band}"] = 4 * np.pi * (fwhm / 2.355) ** 2
        # Extinction A/E(B-V) of the survey's filters (https://www.legacysurvey.org/dr9/catalogs/).
        coefficient = {"g": 3.214, "r": 2.165, "z": 1.211}[band]
        table[f"mw_transmission_{band}"] = 10 ** (-0.4 * coefficient * brick["ebv"])
        snr = np.maximum(snr, np.abs(flux) * np.sqrt(ivar))
    table["ra_ivar"] = table["dec_ivar"] = (snr.clip(1) / (1.0 / 3600)) ** 2
    extended = table["type"] != b"PSF"
    round_ = table["type"] == b"REX"
    scatter = (1.0 / snr.clip(3)).clip(0.01, 0.3)
    radius = sources["r_half"].to_numpy() * np.exp(scatter * rng.standard_normal(n))
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
    with atomic(path) as temporary:
        fitsio.write(temporary, table, header=header, units=units)
