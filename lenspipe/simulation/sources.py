"""Background sources drawn from galaxy counts, and how many of them a galaxy lenses.

The origin of the numbers is given in docs/injection.md.
"""

import functools

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from lenspipe.simulation.lensing import comoving_distance, einstein_radius_sis

__all__ = [
    "MIN_REDSHIFT_GAP",
    "SOURCE_DENSITY",
    "SOURCE_MAG_G",
    "draw_sizes",
    "draw_sources",
    "lens_rate",
    "redshift_scale",
    "source_counts",
    "typical_sizes",
]

#: g magnitudes of sources: brightest, where the slope of their counts changes, and faintest.
SOURCE_MAG_G = (20.0, 24.5, 26.5)

#: Slopes of the counts, d log10 N / dm, on the bright and on the faint side of the change
#: (Eliche-Moral et al. 2006, ApJ 639, 644; Metcalfe et al. 2001, MNRAS 323).
COUNT_SLOPES = (0.50, 0.33)

#: Sources of these magnitudes per square arcmin; with their colours 46 are brighter than i = 25
#: (LSST Science Book 2009, arXiv:0912.0201, sect. 3.7.2).
SOURCE_DENSITY = 90.0

#: Scatter of the half-light radii of sources at given luminosity, dex, where Collett (2015) has
#: 0.35, and their limits, arcsec.
SIZE_SCATTER, SIZES_ARCSEC = 0.2, (0.08, 0.6)

#: Fraction of the sources that are dusty or old, and redder than the others.
RED_FRACTION = 0.2

#: Minimum difference of redshifts at which a source counts as behind a lens.
MIN_REDSHIFT_GAP = 0.05

#: Range and bins of the redshifts of sources, and the number drawn to find their distribution.
_Z_RANGE, _Z_BINS, _Z_DRAWS = (0.05, 4.0), 200, 200_000


def draw_sources(
    rng: np.random.Generator, number: int, mag_g: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Draw star-forming galaxies as on the real sky: magnitudes, colours, redshifts.

    Keys are z, mag_g, mag_r, mag_i and mag_z (AB), float arrays, (number,). The g
    magnitude, one or (number,), is drawn from the counts if not given.
    """
    if mag_g is None:
        mags_g = np.interp(rng.random(number), *_mag_distribution())
    else:
        mags_g = np.broadcast_to(np.asarray(mag_g, float), number)
    red = rng.random(number) < RED_FRACTION
    g_r = np.where(red, rng.uniform(0.5, 1.4, number), rng.normal(0.28, 0.2, number))
    r_z = np.where(red, rng.uniform(0.4, 1.2, number), rng.normal(0.30, 0.22, number))
    mags = {"g": mags_g, "r": mags_g - g_r, "z": mags_g - g_r - r_z}
    mags["i"] = mags["r"] - 0.6 * r_z
    z = (redshift_scale(mags["i"]) * rng.gamma(2.0, size=number) ** (2 / 3)).clip(*_Z_RANGE)
    return {"z": z} | {f"mag_{band}": mag for band, mag in mags.items()}


def redshift_scale(mag_i: ArrayLike) -> np.ndarray:
    """Scale z0 of the redshifts of sources, which are distributed as z^2 exp(-(z / z0)^1.5).

    The distribution is that of Baugh & Efstathiou (1993, MNRAS 265, 145), its median, 1.412 z0,
    that of Leauthaud et al. (2007, ApJS 172, 219).
    """
    return (0.18 * np.asarray(mag_i) - 3.3).clip(0.3) / 1.412


def draw_sizes(rng: np.random.Generator, z: np.ndarray, mag_z: np.ndarray) -> np.ndarray:
    """Draw half-light radii of sources, arcsec (Collett 2015, ApJ 811, 20, sect. 2.2).

    Redshifts and z magnitudes have shape (N,).
    """
    sizes = typical_sizes(z, mag_z) * 10 ** rng.normal(0, SIZE_SCATTER, len(z))
    return sizes.clip(*SIZES_ARCSEC)


def typical_sizes(z: np.ndarray, mag_z: np.ndarray) -> np.ndarray:
    """Median half-light radii that `draw_sizes` draws before it limits them, arcsec."""
    distance = comoving_distance(z)
    # Spectra are assumed to be flat from z to rest-frame V.
    mag_v = mag_z - 5 * np.log10(1e5 * distance * (1 + z)) + 2.5 * np.log10(1 + z)
    log_kpc = -(mag_v + 18) / 4 - 1.2 * np.log10((1 + z) / 1.6)
    return np.degrees(10**log_kpc * (1 + z) / (1e3 * distance)) * 3600


def source_counts(mag_g: ArrayLike) -> np.ndarray:
    """Number of sources per square arcsec and magnitude; 0 outside `SOURCE_MAG_G`."""
    brighter, mag = _mag_distribution()
    density = np.gradient(brighter, mag)
    at_mag = np.interp(np.asarray(mag_g, float), mag, density, left=0, right=0)
    return SOURCE_DENSITY / 3600 * at_mag


def lens_rate(
    z_lens: np.ndarray, sigma_v: np.ndarray, scatter: float, theta_e_range: tuple[float, float]
) -> np.ndarray:
    """Expected number of sources that a galaxy images more than once, detectable or not.

    The density of sources on the sky times the cross-section, pi theta_E^2, averaged over the
    redshifts of sources and over the scatter of the velocity dispersion. The cross-section is 0
    where theta_E is out of its range. Redshift and median velocity dispersion, km/s, have shape
    (N,); its scatter is in dex, the range of Einstein radii in arcsec.
    """
    z, fraction = _redshifts()
    # theta_E scales as sigma^2; a moment of a truncated lognormal distribution has a closed form.
    width = 2 * scatter * np.log(10)
    low, high = np.log(theta_e_range)
    rates = np.empty(len(z_lens))
    for start in range(0, len(z_lens), 1000):
        rows = slice(start, start + 1000)
        near = np.asarray(z_lens, float)[rows, None]
        theta_e = einstein_radius_sis(np.asarray(sigma_v, float)[rows, None], near, z)
        behind = z > near + MIN_REDSHIFT_GAP
        middle = np.log(np.where(behind, theta_e, 1.0))
        above = middle + 2 * width**2
        inside = ndtr((high - above) / width) - ndtr((low - above) / width)
        square = np.exp(2 * middle + 2 * width**2) * inside
        rates[rows] = np.where(behind, square, 0) @ fraction
    return SOURCE_DENSITY / 3600 * np.pi * rates


@functools.cache
def _redshifts() -> tuple[np.ndarray, np.ndarray]:
    """Redshifts of sources and the fraction of the sources at each."""
    z = draw_sources(np.random.default_rng(0), _Z_DRAWS)["z"]
    number, edges = np.histogram(z, _Z_BINS, _Z_RANGE)
    return (edges[1:] + edges[:-1]) / 2, number / _Z_DRAWS


@functools.cache
def _mag_distribution() -> tuple[np.ndarray, np.ndarray]:
    """Fraction of the sources that are brighter than a g magnitude, and that magnitude."""
    mag = np.linspace(SOURCE_MAG_G[0], SOURCE_MAG_G[2], 500)
    above = mag - SOURCE_MAG_G[1]
    counts = 10 ** (np.where(above < 0, *COUNT_SLOPES) * above)
    return np.cumsum(counts) / counts.sum(), mag
