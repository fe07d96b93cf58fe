"""Simulated strong lenses: isothermal deflectors with shear, clumpy blue sources."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import ArrayLike
from scipy import fft

from lenspipe.simulation.survey import ZERO_POINT_MAG
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError

__all__ = [
    "arc_image",
    "blurred_arcs",
    "comoving_distance",
    "detection_probability",
    "draw_einstein_radii",
    "draw_lenses",
    "einstein_radius_sis",
    "lensed_light",
]

_COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
_REDSHIFT_GRID = np.linspace(0.0, 4.0, 401)
_COMOVING = _COSMOLOGY.comoving_distance(_REDSHIFT_GRID).value
_LIGHT_KM_S = 299792.458

#: Range of the Einstein radii of planted lenses, arcsec.
THETA_E_RANGE = (0.7, 4.0)

#: Total lensed g magnitudes of planted lenses: brightest, most frequent and faintest at an Einstein
#: radius of 1.6 arcsec; images of the same sources behind larger lenses are brighter.
ARC_MAG_G = (21.0, 21.2, 22.2)

#: Half-light radii of the sources of planted lenses: mean and scatter of log10 arcsec.
LOG_R_HALF = (-0.55, 0.15)

#: Maximum distance of those sources from the axis, in units of the Einstein radius.
MAX_BETA = 0.27

#: Margin around blurred arcs for the wings of the PSF, pixels.
_WINGS = 12

#: Radius of a source, beyond which it has no light, in half-light radii.
_SOURCE_REACH = 4.5


def comoving_distance(redshift: ArrayLike) -> np.ndarray:
    """Line-of-sight comoving distance, Mpc, for flat LCDM with H0 = 70, Omega_m = 0.3.

    The redshift is 0 to 4.
    """
    return np.interp(np.asarray(redshift, float), _REDSHIFT_GRID, _COMOVING)


def einstein_radius_sis(
    sigma_km_s: ArrayLike, z_lens: ArrayLike, z_source: ArrayLike
) -> np.ndarray:
    """Einstein radius of a singular isothermal sphere, arcsec.

    ``theta_E = 4 pi (sigma / c)^2 D_ls / D_s`` (Schneider, Kochanek & Wambsganss 2006, part 2,
    sect. 3), in flat LCDM with H0 = 70, Omega_m = 0.3. The velocity dispersion is in km/s; a source
    behind the lens has ``z_source > z_lens``.
    """
    near, far = comoving_distance(z_lens), comoving_distance(z_source)
    radians = 4 * np.pi * (np.asarray(sigma_km_s) / _LIGHT_KM_S) ** 2 * (1 - near / far)
    return np.degrees(radians) * 3600


def draw_einstein_radii(
    rng: np.random.Generator,
    redshift: np.ndarray,
    mag_z: np.ndarray,
    mstar: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw Einstein radii that galaxies would have, and redshifts of sources.

    The velocity dispersion rises with luminosity, as L^0.1 with scatter: more slowly than L^(1/4)
    (Faber & Jackson 1976), so that faint galaxies are among the lenses. Redshifts and magnitudes of
    the galaxies have shape (N,), as have the radii, arcsec, and the redshifts of the sources;
    `mstar` returns the z magnitude of a characteristic galaxy at a redshift.
    """
    brightness = mstar(redshift) - mag_z
    sigma = 250 * 10 ** (0.04 * brightness + 0.10 * rng.standard_normal(len(redshift)))
    z_source = (redshift + 0.35 + rng.gamma(3.0, 0.35, len(redshift))).clip(max=4.0)
    return einstein_radius_sis(sigma, redshift, z_source), z_source


def detection_probability(mag_g: ArrayLike) -> np.ndarray:
    """Probability that arcs of `draw_lenses` stand out from the light of a galaxy."""
    return 1 / (1 + np.exp(-(np.asarray(mag_g) - 20.4) / 0.3))


def draw_lenses(
    rng: np.random.Generator,
    pool: pd.DataFrame,
    size: int,
    mstar: Callable[[np.ndarray], np.ndarray],
) -> pd.DataFrame:
    """Draw lenses from a pool of ellipticals.

    Einstein radii are those of `draw_einstein_radii`. The probability of a galaxy is proportional
    to its cross-section, theta_E^2, times the probability that the images are resolved from the
    deflector at the seeing of this survey, a logistic curve around 1.35 arcsec, and times the
    probability that they stand out from its light, one around g = 20.4. The result is like the
    lenses that searches of this survey find, mostly with theta_E of 1 to 3 arcsec and deflectors of
    g 20.3 to 22. Return rows of the pool with z_source, theta_e_arcsec, arc_mag_g, source_r_half
    (arcsec), shear_1, shear_2, mass_e1, mass_e2, beta_1, beta_2 (source position in units of
    theta_E) and clump_seed. `mstar` is as for `draw_einstein_radii`.
    """
    n = len(pool)
    mag_z = to_magnitude(pool["flux_z"], ZERO_POINT_MAG)
    theta_e, z_source = draw_einstein_radii(rng, pool["redshift"].to_numpy(), mag_z, mstar)
    within = (theta_e > THETA_E_RANGE[0]) & (theta_e < THETA_E_RANGE[1])
    resolved = 1 / (1 + np.exp(-(theta_e - 1.35) / 0.12))
    mag_g = to_magnitude(pool["flux_g"], ZERO_POINT_MAG)
    weight = np.where(within, theta_e**2 * resolved * detection_probability(mag_g), 0)
    chosen = rng.choice(n, size, replace=False, p=weight / weight.sum())
    lenses = pool.iloc[chosen].reset_index(drop=True)
    lenses["z_source"] = z_source[chosen]
    lenses["theta_e_arcsec"] = theta_e[chosen]
    magnified = 1.5 * np.log10(lenses["theta_e_arcsec"] / 1.6)
    lenses["arc_mag_g"] = (rng.triangular(*ARC_MAG_G, size) - magnified).clip(ARC_MAG_G[0], 24.0)
    lenses["source_r_half"] = 10 ** rng.normal(*LOG_R_HALF, size)
    shear, angle = np.abs(rng.normal(0, 0.05, size)), rng.uniform(0, np.pi, size)
    lenses["shear_1"] = shear * np.cos(2 * angle)
    lenses["shear_2"] = shear * np.sin(2 * angle)
    # The mass follows the light, rounder and with some scatter.
    for name in ("e1", "e2"):
        lenses[f"mass_{name}"] = (0.7 * lenses[name] + rng.normal(0, 0.04, size)).clip(-0.4, 0.4)
    # Published lenses show arcs: their sources lie well within the caustics.
    radius, angle = MAX_BETA * np.sqrt(rng.random(size)), rng.uniform(0, 2 * np.pi, size)
    lenses["beta_1"] = radius * np.cos(angle)
    lenses["beta_2"] = radius * np.sin(angle)
    lenses["clump_seed"] = rng.integers(2**31, size=size)
    # Published lenses were fitted as SER 60 %, DEV 26 %, REX 11 %, EXP 3 %.
    tractor_type = rng.choice(["SER", "DEV", "REX", "EXP"], size, p=[0.60, 0.26, 0.11, 0.03])
    lenses["type"] = tractor_type
    lenses.loc[tractor_type == "DEV", "sersic"] = 4.0
    return lenses


@functools.cache
def _models(clumps: int) -> tuple[Any, Any]:
    """Lens and light models of lenstronomy, which is optional and takes a second to import."""
    try:
        from lenstronomy.LensModel.lens_model import LensModel
        from lenstronomy.LightModel.light_model import LightModel
    except ModuleNotFoundError as error:
        raise LenspipeError(
            f"{error.name}: not installed; lensed arcs need it: pip install 'lenspipe[demo]'"
        ) from None
    light = LightModel(["SERSIC_ELLIPSE"] + clumps * ["GAUSSIAN"])
    return LensModel(["SIE", "SHEAR"]), light


def lensed_light(
    lens: Mapping[str, Any], x: np.ndarray, y: np.ndarray, reach: float = np.inf
) -> tuple[np.ndarray, float]:
    """Ray-trace a source: a Sersic profile with up to five clumps.

    Return the surface brightness of the images without PSF, float64 (N,), in an arbitrary unit per
    square arcsec, and the flux of the unlensed source in that unit.

    Parameters
    ----------
    lens
        A row of `draw_lenses`, of which theta_e_arcsec, mass_e1, mass_e2, shear_1, shear_2,
        source_r_half, beta_1, beta_2 and clump_seed are used.
    x, y
        (N,) arcsec from the lens, x to the West, y to the North.
    reach
        Radius around the centre of the source beyond which it has no light, in half-light radii.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed.
    """
    rng = np.random.default_rng(int(lens["clump_seed"]))
    radius = lens["source_r_half"]
    position = np.array([lens["beta_1"], lens["beta_2"]]) * lens["theta_e_arcsec"]
    e1, e2 = rng.normal(0, 0.15, 2).clip(-0.4, 0.4)
    body = {"R_sersic": radius, "n_sersic": rng.uniform(0.8, 1.6), "e1": e1, "e2": e2}
    parts = [body | {"amp": 1.0, "center_x": position[0], "center_y": position[1]}]
    body_flux = total_flux = _models(0)[1].total_flux(parts)[0]
    for _ in range(rng.integers(0, 6)):
        centre = position + rng.normal(0, radius, 2)
        sigma = rng.uniform(0.1, 0.25) * radius
        flux = rng.uniform(0.04, 0.2) * body_flux
        total_flux += flux
        parts.append({"amp": flux, "sigma": sigma, "center_x": centre[0], "center_y": centre[1]})
    # Tractor's ellipticities count from North to East; on the image both change sign.
    mass = {
        "theta_E": lens["theta_e_arcsec"],
        "e1": -lens["mass_e1"],
        "e2": -lens["mass_e2"],
        "center_x": 0.0,
        "center_y": 0.0,
    }
    shear = {"gamma1": lens["shear_1"], "gamma2": lens["shear_2"], "ra_0": 0.0, "dec_0": 0.0}
    deflector, light = _models(len(parts) - 1)
    u, v = deflector.ray_shooting(x, y, [mass, shear])
    near = (u - position[0]) ** 2 + (v - position[1]) ** 2 < (reach * radius) ** 2
    brightness = np.zeros(len(x))
    brightness[near] = light.surface_brightness(u[near], v[near], parts)
    return brightness, total_flux


def arc_image(lens: Mapping[str, Any], scale_arcsec: float, pixels: int) -> np.ndarray:
    """Render the images of a lensed source without PSF.

    `lens` is a row of `draw_lenses`. The surface brightness, float64 (pixels, pixels), sums to 1; x
    to the West (right), y to the North, the lens at the centre.
    """
    axis = (np.arange(pixels) - (pixels - 1) / 2) * scale_arcsec
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    image = lensed_light(lens, x, y)[0].reshape(pixels, pixels)
    return image / image.sum()


def blurred_arcs(
    lens: Mapping[str, Any],
    fluxes: ArrayLike,
    fwhm: ArrayLike,
    size: int,
    pixel_scale_arcsec: float,
    oversampling: int | None = None,
) -> tuple[np.ndarray, float]:
    """Render the images of a lensed source as seen through the PSF.

    Surface brightness is conserved, so that the flux of the arcs is that of the source times the
    magnification. The source has the same shape in all bands. The PSF is the Moffat profile of the
    simulated sky (`lenspipe.simulation.rendering.moffat`, beta = 3.5), applied by its Fourier
    transform, (1 + t + t^2 / 3) exp(-t) with t = 2 pi k alpha, which keeps the wings and conserves
    flux. It is assumed to include the pixel response, as the PSF of coadds does. Return the images,
    (B, s, s), nanomaggies per pixel, the lens at the centre, where s is odd and at most `size`,
    with no light outside; and the magnification, the total flux of the images over that of the
    source.

    Parameters
    ----------
    fluxes
        (B,) of the unlensed source, nanomaggies.
    fwhm
        (B,) of the PSF, arcsec.
    size
        Side of the cutout, pixels; odd.
    oversampling
        Rays per pixel along each axis; 2 to 5 by the size of the source if not given.
    """
    offset = np.hypot(lens["beta_1"], lens["beta_2"]) * lens["theta_e_arcsec"]
    reach = 1.15 * lens["theta_e_arcsec"] + offset + _SOURCE_REACH * lens["source_r_half"]
    half = int(np.ceil(reach / pixel_scale_arcsec))
    oversampling = oversampling or int(np.clip(np.ceil(0.7 / lens["source_r_half"]), 2, 5))
    x, y, inside = _rays(half, oversampling, pixel_scale_arcsec)
    light = np.zeros(inside.shape, np.float32)
    light[inside], flux = lensed_light(lens, x, y, _SOURCE_REACH)
    light *= (pixel_scale_arcsec / oversampling) ** 2 / flux
    # Only the frequencies of the coadd are needed of the transform of the finely sampled image:
    # the PSF suppresses all others. The inverse is thus sampled at the centres of pixels.
    side = 2 * fft.next_fast_len(half + _WINGS, real=True)
    waves = fft.rfft(light, oversampling * side, axis=1)[:, : side // 2 + 1]
    waves = fft.fft(waves, oversampling * side, axis=0)
    waves = np.concatenate([waves[: side // 2], waves[-(side // 2) :]])
    alpha = np.asarray(fwhm, np.float32)[:, None, None] / np.float32(
        2 * np.sqrt(2 ** (1 / 3.5) - 1)
    )
    t = alpha * _wavenumbers(side, pixel_scale_arcsec)
    blurred = fft.irfft2(waves * ((1 + t + t**2 / 3) * np.exp(-t)), (side, side))
    # The lens is at pixel `half`; pixels before 0 are at the end.
    shown = min(side - 1, size)
    blurred = np.roll(blurred, shown // 2 - half, axis=(1, 2))[:, :shown, :shown]
    return blurred * np.asarray(fluxes)[:, None, None], light.sum(dtype=float)


@functools.lru_cache(128)
def _rays(
    half: int, oversampling: int, pixel_scale_arcsec: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions x, y of rays in a circle, arcsec, and their mask in a square around it."""
    axis = np.arange(-half * oversampling, half * oversampling) / oversampling
    inside = axis[:, None] ** 2 + axis**2 < half**2
    y, x = np.nonzero(inside)
    return axis[x] * pixel_scale_arcsec, axis[y] * pixel_scale_arcsec, inside


@functools.lru_cache(64)
def _wavenumbers(side: int, pixel_scale_arcsec: float) -> np.ndarray:
    """2 pi times the frequencies, per arcsec, of a real transform of coadd pixels."""
    rows, columns = fft.fftfreq(side, pixel_scale_arcsec), fft.rfftfreq(side, pixel_scale_arcsec)
    return 2 * np.pi * np.hypot(rows[:, None], columns[None, :]).astype(np.float32)
