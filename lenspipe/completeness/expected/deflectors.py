"""Lens galaxies: their numbers by velocity dispersion, redshifts and magnitudes."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gamma

from lenspipe.simulation.galaxies import mag_star
from lenspipe.simulation.lenses import SIGMA_STAR
from lenspipe.simulation.lensing import comoving_distance

__all__ = [
    "CHOI_2007",
    "MAG_SCATTER",
    "SHETH_2003",
    "SIGMA_RANGE_KM_S",
    "Z_RANGE",
    "dispersion_function",
    "draw_dispersions",
    "draw_redshifts",
    "lens_magnitude",
    "volume_mpc3_per_deg2",
]

#: Velocity dispersion functions of early-type galaxies today: density in Mpc^-3, characteristic
#: dispersion in km/s, and the two slopes alpha and beta. Choi, Park & Vogeley 2007 (ApJ 658, 884),
#: whose density is 8.0e-3 h^3 Mpc^-3, with h = 0.7, as in Collett 2015 (ApJ 811, 20, sect. 2.1);
#: Sheth et al. 2003 (ApJ 594, 225), already for h = 0.7.
CHOI_2007 = {"density": 8.0e-3 * 0.7**3, "sigma": 161.0, "alpha": 2.32, "beta": 2.67}
SHETH_2003 = {"density": 2.0e-3, "sigma": 88.8, "alpha": 6.5, "beta": 1.93}

#: Ranges of the dispersions (from 100 km/s as in Collett) and redshifts that are drawn.
SIGMA_RANGE_KM_S = (100.0, 450.0)
Z_RANGE = (0.05, 1.5)

#: Mean and spread of log10 of the dispersion, km/s, of early-type galaxies; its scatter at given
#: luminosity; its rise per magnitude (Bernardi et al. 2003, AJ 125, 1849).
_MEAN_LOG_SIGMA, _LOG_SIGMA_SPREAD, _LOG_SIGMA_SCATTER, _LOG_SIGMA_PER_MAG = 2.20, 0.111, 0.07, 0.1

_CORRELATION2 = 1 - (_LOG_SIGMA_SCATTER / _LOG_SIGMA_SPREAD) ** 2

#: Scatter of magnitudes at given dispersion.
MAG_SCATTER = float(np.sqrt(_CORRELATION2) * _LOG_SIGMA_SCATTER / _LOG_SIGMA_PER_MAG)


def dispersion_function(
    velocity: ArrayLike, density: float, sigma: float, alpha: float, beta: float
) -> np.ndarray:
    """Comoving density of galaxies per velocity dispersion, Mpc^-3 per km/s.

    ``density (v / sigma)^alpha exp(-(v / sigma)^beta) beta / Gamma(alpha / beta) / v``, whose
    integral over all v is ``density``. The dispersion, km/s, is above 0; the other arguments are as
    in `CHOI_2007`.
    """
    ratio = np.asarray(velocity, float) / sigma
    shape = ratio**alpha * np.exp(-(ratio**beta))
    return density * shape * beta / gamma(alpha / beta) / np.asarray(velocity, float)


def volume_mpc3_per_deg2(z_range: tuple[float, float]) -> float:
    """Comoving volume between two redshifts: flat LCDM with H0 = 70, Omega_m = 0.3."""
    near, far = comoving_distance(z_range)
    return float((far**3 - near**3) / 3 * np.radians(1) ** 2)


def draw_redshifts(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw redshifts within `Z_RANGE` for a constant comoving density."""
    grid = np.linspace(*Z_RANGE, 1500)
    volume = comoving_distance(grid) ** 3
    return np.interp(rng.uniform(volume[0], volume[-1], number), volume, grid)


def draw_dispersions(
    rng: np.random.Generator, number: int, density: float, sigma: float, alpha: float, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw velocity dispersions weighted by the lensing cross-section, sigma^4.

    They are within `SIGMA_RANGE_KM_S`, km/s, shape (number,); the weight of each is the galaxies
    per Mpc^3 that it stands for. The other arguments are as in `CHOI_2007`.
    """
    grid = np.linspace(*SIGMA_RANGE_KM_S, 2000)
    density_per_km_s = dispersion_function(grid, density, sigma, alpha, beta)
    probability = density_per_km_s * grid**4
    step = grid[1] - grid[0]
    cumulative = np.concatenate([[0], np.cumsum((probability[1:] + probability[:-1]) / 2 * step)])
    drawn = np.interp(rng.uniform(0, cumulative[-1], number), cumulative, grid)
    return drawn, cumulative[-1] / drawn**4 / number


def lens_magnitude(sigma_v: ArrayLike, z: ArrayLike) -> np.ndarray:
    """Mean z magnitude (AB) of early-type galaxies of a velocity dispersion, scatter `MAG_SCATTER`.

    From the relation that injected lenses follow, sigma ~ L^(1/4) with `SIGMA_STAR` at the
    characteristic magnitude. This is not its inverse: a galaxy of high dispersion is more often one
    of the many of average luminosity with a high dispersion for it than one of the few luminous
    ones. Distributions of log luminosity and log dispersion are taken as Gaussian (Bernardi et al.
    2003). `sigma_v` is the velocity dispersion, km/s; `z` the redshift.
    """
    z = np.asarray(z, float)
    # The characteristic magnitude is known to z = 1, and fades by 0.3 per 0.1 there.
    characteristic = mag_star(z) + 3.0 * np.maximum(z - 1, 0)
    mean_offset = (np.log10(SIGMA_STAR) - _MEAN_LOG_SIGMA) / _LOG_SIGMA_PER_MAG
    excess = np.log10(np.asarray(sigma_v, float)) - _MEAN_LOG_SIGMA
    return characteristic + mean_offset - _CORRELATION2 / _LOG_SIGMA_PER_MAG * excess
