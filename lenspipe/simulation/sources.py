"""The sky behind lenses: sources as counts have them, and how many of them a galaxy lenses.

Where the numbers come from: docs/injection.md.
"""

import functools

import numpy as np
from scipy.special import ndtr

from lenspipe.simulation.lensing import (
    LOG_R_HALF,
    MOST_BETA,
    comoving_distance,
    einstein_radius_sis,
)
from lenspipe.simulation.population import BLUE_GR, BLUE_RZ

__all__ = [
    "BEHIND",
    "SOURCE_DENSITY",
    "SOURCE_MAG_G",
    "draw_planted",
    "draw_sizes",
    "draw_sources",
    "lens_rate",
    "redshift_scale",
    "source_counts",
]

#: g magnitudes of sources, and the slopes of their counts, d log10 N / dm, brighter and fainter
#: than the middle one (Eliche-Moral et al. 2006, ApJ 639, 644; Metcalfe et al. 2001, MNRAS 323).
SOURCE_MAG_G, COUNT_SLOPES = (20.0, 24.5, 26.5), (0.50, 0.33)

#: Sources of these magnitudes per square arcmin, so that with their colours 46 are brighter than
#: i = 25 (LSST Science Book 2009, arXiv:0912.0201, sect. 3.7.2).
SOURCE_DENSITY = 90.0

#: A source is behind a lens from this difference of redshifts on.
BEHIND = 0.05

#: Redshifts of sources, and how many are drawn to know their distribution.
_Z_RANGE, _Z_BINS, _Z_DRAWS = (0.05, 4.0), 200, 200_000


def draw_sources(rng, number, mag_g=None):
    """Draw star-forming galaxies as the sky has them: magnitudes, colours, redshifts.

    Parameters
    ----------
    rng : numpy.random.Generator
    number : int
    mag_g : float, optional
        g magnitude of all; drawn from the counts if not given.

    Returns
    -------
    dict
        z, mag_g, mag_r, mag_i and mag_z: arrays of float, (number,); AB magnitudes.
    """
    if mag_g is None:
        mag_g = np.interp(rng.random(number), *_mag_distribution())
    else:
        mag_g = np.full(number, float(mag_g))
    g_r = rng.normal(0.5, 0.15, number)
    r_z = 0.6 * g_r + rng.normal(0, 0.15, number)
    mags = {"g": mag_g, "r": mag_g - g_r, "z": mag_g - g_r - r_z}
    mags["i"] = mags["r"] - 0.6 * r_z
    z = (redshift_scale(mags["i"]) * rng.gamma(2.0, size=number) ** (2 / 3)).clip(*_Z_RANGE)
    return {"z": z} | {f"mag_{band}": mag for band, mag in mags.items()}


def redshift_scale(mag_i):
    """Scale z0 of the redshifts of sources, which are distributed as z^2 exp(-(z / z0)^1.5).

    The distribution is that of Baugh & Efstathiou (1993, MNRAS 265, 145), its median, 1.412 z0,
    that of Leauthaud et al. (2007, ApJS 172, 219).

    Parameters
    ----------
    mag_i : array_like

    Returns
    -------
    ndarray
    """
    return (0.18 * np.asarray(mag_i) - 3.3).clip(0.3) / 1.412


def draw_sizes(rng, z, mag_z):
    """Draw half-light radii of sources (Collett 2015, ApJ 811, 20, sect. 2.2).

    Parameters
    ----------
    rng : numpy.random.Generator
    z, mag_z : (N,) float arrays
        Redshifts and z magnitudes.

    Returns
    -------
    (N,) float array
        Arcsec.
    """
    distance = comoving_distance(z)
    # Spectra are taken as flat from z to the rest frame's V.
    mag_v = mag_z - 5 * np.log10(1e5 * distance * (1 + z)) + 2.5 * np.log10(1 + z)
    log_kpc = -(mag_v + 18) / 4 - 1.2 * np.log10((1 + z) / 1.6) + rng.normal(0, 0.35, len(z))
    return (np.degrees(10**log_kpc * (1 + z) / (1e3 * distance)) * 3600).clip(0.05, 1.5)


def draw_planted(rng, mag_g):
    """Draw sources like those of the lenses that are planted on the simulated sky.

    Parameters
    ----------
    rng : numpy.random.Generator
    mag_g : (N,) float array

    Returns
    -------
    mags : dict
        mag_r, mag_i and mag_z: (N,) float arrays.
    r_half : (N,) float array
        Half-light radii, arcsec.
    beta : (N,) float array
        Distances from the axis in units of the Einstein radius.
    """
    number = len(mag_g)
    mag_r = mag_g - rng.uniform(*BLUE_GR, number)
    r_z = rng.uniform(*BLUE_RZ, number)
    mags = {"mag_r": mag_r, "mag_i": mag_r - 0.6 * r_z, "mag_z": mag_r - r_z}
    return mags, 10 ** rng.normal(*LOG_R_HALF, number), MOST_BETA * np.sqrt(rng.random(number))


def source_counts(mag_g):
    """How many sources there are at a magnitude.

    Parameters
    ----------
    mag_g : array_like

    Returns
    -------
    ndarray
        Per square arcsec and magnitude; 0 beyond `SOURCE_MAG_G`.
    """
    part, mag = _mag_distribution()
    steps = np.gradient(part, mag)
    return SOURCE_DENSITY / 3600 * np.interp(mag_g, mag, steps, left=0, right=0)


def lens_rate(z_lens, sigma_v, scatter, theta_e_range):
    """Expect how many sources a galaxy images more than once, whether or not they can be seen.

    The density of sources on the sky times the cross-section, pi theta_E^2, averaged over the
    sources' redshifts and over the scatter of the velocity dispersion; where theta_E is out of its
    range the cross-section counts as 0.

    Parameters
    ----------
    z_lens, sigma_v : (N,) float arrays
        Redshift, and median of the velocity dispersion, km/s.
    scatter : float
        Of the dispersion, dex.
    theta_e_range : tuple of float
        Least and largest Einstein radius, arcsec.

    Returns
    -------
    (N,) float array
    """
    z, part = _redshifts()
    # theta_E goes as sigma^2; the mean of a power of a lognormal number within limits is known.
    width = 2 * scatter * np.log(10)
    low, high = np.log(theta_e_range)
    rates = np.empty(len(z_lens))
    for start in range(0, len(z_lens), 1000):
        rows = slice(start, start + 1000)
        near = np.asarray(z_lens, float)[rows, None]
        theta_e = einstein_radius_sis(np.asarray(sigma_v, float)[rows, None], near, z)
        behind = z > near + BEHIND
        middle = np.log(np.where(behind, theta_e, 1.0))
        above = middle + 2 * width**2
        inside = ndtr((high - above) / width) - ndtr((low - above) / width)
        square = np.exp(2 * middle + 2 * width**2) * inside
        rates[rows] = np.where(behind, square, 0) @ part
    return SOURCE_DENSITY / 3600 * np.pi * rates


@functools.cache
def _redshifts():
    """Redshifts of sources and the part of the sources at each."""
    z = draw_sources(np.random.default_rng(0), _Z_DRAWS)["z"]
    number, edges = np.histogram(z, _Z_BINS, _Z_RANGE)
    return (edges[1:] + edges[:-1]) / 2, number / _Z_DRAWS


@functools.cache
def _mag_distribution():
    """Part of the sources that are brighter than a g magnitude, and that magnitude."""
    mag = np.linspace(SOURCE_MAG_G[0], SOURCE_MAG_G[2], 500)
    above = mag - SOURCE_MAG_G[1]
    counts = 10 ** (np.where(above < 0, *COUNT_SLOPES) * above)
    return np.cumsum(counts) / counts.sum(), mag
