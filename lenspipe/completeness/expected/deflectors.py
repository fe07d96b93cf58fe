"""Galaxies that lens: how many of which velocity dispersion, where, and how bright."""

import numpy as np
from scipy.special import gamma

from lenspipe.simulation.injection import SIGMA_STAR
from lenspipe.simulation.lensing import comoving_distance
from lenspipe.simulation.population import mag_star

__all__ = [
    "CHOI",
    "EVOLUTION",
    "MAG_SCATTER",
    "SHETH",
    "SIGMA_RANGE",
    "Z_RANGE",
    "dispersion_function",
    "draw_dispersions",
    "draw_redshifts",
    "lens_magnitude",
    "volume_mpc3_per_deg2",
]

#: Velocity dispersion functions of early-type galaxies today: density in Mpc^-3, characteristic
#: dispersion in km/s, and the two slopes alpha and beta. Choi, Park & Vogeley 2007 (ApJ 658, 884),
#: whose density is 8.0e-3 h^3 Mpc^-3, with h = 0.7, as Collett 2015 (ApJ 811, 20, sect. 2.1) has
#: it; Sheth et al. 2003 (ApJ 594, 225), already for h = 0.7.
CHOI = {"density": 8.0e-3 * 0.7**3, "sigma": 161.0, "alpha": 2.32, "beta": 2.67}

SHETH = {"density": 2.0e-3, "sigma": 88.8, "alpha": 6.5, "beta": 1.93}

#: Comoving density falls as (1 + z)^-2.5, as in LensPop, the code that Collett published.
EVOLUTION = -2.5

#: What is drawn: dispersions, km/s (from 100 on as Collett does), and redshifts.
SIGMA_RANGE = (100.0, 450.0)

Z_RANGE = (0.05, 1.5)

#: Of early-type galaxies log10 of the dispersion, km/s, has this mean and spread, and at given
#: luminosity this scatter; it rises by 0.1 per magnitude (Bernardi et al. 2003, AJ 125, 1849).
_LOG_SIGMA, _SPREAD, _SCATTER, _PER_MAG = 2.20, 0.111, 0.07, 0.1

_CORRELATION2 = 1 - (_SCATTER / _SPREAD) ** 2

#: Scatter of magnitudes at given dispersion.
MAG_SCATTER = float(np.sqrt(_CORRELATION2) * _SCATTER / _PER_MAG)


def dispersion_function(velocity, density, sigma, alpha, beta):
    """Comoving density of galaxies per velocity dispersion.

    ``density (v / sigma)^alpha exp(-(v / sigma)^beta) beta / Gamma(alpha / beta) / v``, whose
    integral over all v is ``density``.

    Parameters
    ----------
    velocity : array_like
        Dispersion, km/s, above 0.
    density, sigma, alpha, beta : float
        As of `CHOI`.

    Returns
    -------
    ndarray
        Mpc^-3 per km/s.
    """
    ratio = np.asarray(velocity, float) / sigma
    shape = ratio**alpha * np.exp(-(ratio**beta))
    return density * shape * beta / gamma(alpha / beta) / np.asarray(velocity, float)


def volume_mpc3_per_deg2(z_range):
    """Comoving volume between two redshifts.

    Parameters
    ----------
    z_range : (float, float)

    Returns
    -------
    float
        Mpc^3 behind a square degree, flat LCDM with H0 = 70, Omega_m = 0.3.
    """
    near, far = comoving_distance(z_range)
    return float((far**3 - near**3) / 3 * np.radians(1) ** 2)


def draw_redshifts(rng, number):
    """Draw redshifts, within `Z_RANGE`, by volume alone, as of a constant comoving density.

    Parameters
    ----------
    rng : numpy.random.Generator
    number : int

    Returns
    -------
    (number,) float array
    """
    grid = np.linspace(*Z_RANGE, 1500)
    volume = comoving_distance(grid) ** 3
    return np.interp(rng.uniform(volume[0], volume[-1], number), volume, grid)


def draw_dispersions(rng, number, density, sigma, alpha, beta):
    """Draw velocity dispersions by the cross-section of their galaxies, sigma^4.

    Parameters
    ----------
    rng : numpy.random.Generator
    number : int
    density, sigma, alpha, beta : float
        As of `CHOI`.

    Returns
    -------
    sigma : (number,) float array
        km/s, within `SIGMA_RANGE`.
    weight : (number,) float array
        Galaxies per Mpc^3 that each stands for.
    """
    grid = np.linspace(*SIGMA_RANGE, 2000)
    function = dispersion_function(grid, density, sigma, alpha, beta)
    chance = function * grid**4
    step = grid[1] - grid[0]
    below = np.concatenate([[0], np.cumsum((chance[1:] + chance[:-1]) / 2 * step)])
    drawn = np.interp(rng.uniform(0, below[-1], number), below, grid)
    return drawn, below[-1] / drawn**4 / number


def lens_magnitude(sigma_v, z):
    """Mean z magnitude of early-type galaxies of a velocity dispersion.

    The relation that injected lenses follow, sigma ~ L^(1/4) with 232 km/s at the characteristic
    magnitude, turned around. That is not its inverse: a galaxy of a high dispersion is more often
    one of the many of usual luminosity with a high dispersion for it than one of the few luminous
    ones. Luminosities and dispersions are taken for Gaussian (Bernardi et al. 2003).

    Parameters
    ----------
    sigma_v : array_like
        km/s.
    z : array_like
        Redshift.

    Returns
    -------
    ndarray
        AB; scatter `MAG_SCATTER` around it.
    """
    z = np.asarray(z, float)
    # The characteristic magnitude is known to z = 1, and fades by 0.3 per 0.1 there.
    characteristic = mag_star(z) + 3.0 * np.maximum(z - 1, 0)
    usual = (np.log10(SIGMA_STAR) - _LOG_SIGMA) / _PER_MAG
    excess = np.log10(np.asarray(sigma_v, float)) - _LOG_SIGMA
    return characteristic + usual - _CORRELATION2 / _PER_MAG * excess
