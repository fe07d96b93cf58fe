"""Gravitational lensing: Einstein radii, and images of clumpy sources behind a deflector."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import ArrayLike
from scipy import fft

from lenspipe.simulation.psf import Psf
from lenspipe.utils.errors import LenspipeError

__all__ = ["blurred_arcs", "comoving_distance", "einstein_radius_sis", "lensed_light"]

_COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
_REDSHIFT_GRID = np.linspace(0.0, 4.0, 401)
_COMOVING = _COSMOLOGY.comoving_distance(_REDSHIFT_GRID).value
_LIGHT_KM_S = 299792.458

#: Margin around blurred arcs for the wings of the PSF, pixels.
_WINGS = 12

#: Radius of a source, beyond which it has no light, in half-light radii.
_SOURCE_REACH = 4.5

#: Radius within which images form, in Einstein radii, for shear and satellites as on the sky.
_IMAGE_REACH = 1.25


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


@functools.cache
def _models(satellites: int, clumps: int) -> tuple[Any, Any]:
    """Lens and light models of lenstronomy, which is optional and takes a second to import."""
    try:
        from lenstronomy.LensModel.lens_model import LensModel
        from lenstronomy.LightModel.light_model import LightModel
    except ModuleNotFoundError as error:
        raise LenspipeError(
            f"{error.name}: not installed; lensed arcs need it: pip install 'lenspipe[demo]'"
        ) from None
    light = LightModel(["SERSIC_ELLIPSE"] + clumps * ["GAUSSIAN"])
    return LensModel(["SIE", "SHEAR", *satellites * ["SIS"]]), light


def lensed_light(
    lens: Mapping[str, Any], x: np.ndarray, y: np.ndarray, reach: float = np.inf
) -> tuple[np.ndarray, float]:
    """Ray-trace a source: a Sersic profile with up to five clumps.

    The deflector is a singular isothermal ellipsoid with external shear and satellites, which are
    singular isothermal spheres. Return the surface brightness of the images without PSF, float64
    (N,), in an arbitrary unit per square arcsec, and the flux of the unlensed source in that unit.

    Parameters
    ----------
    lens
        theta_e_arcsec, mass_e1 and mass_e2 (Tractor's convention), shear_1, shear_2,
        source_r_half (arcsec), beta_1, beta_2 (position of the source in units of theta_E), and
        clump_seed; ``satellites``, if there are any, are (x, y, theta_E) in arcsec.
    x, y
        (N,) arcsec from the lens, x to the West, y to the North.
    reach
        Radius around the centre of the source beyond which it has no light, in half-light radii.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed.
    """
    # Tractor's ellipticities count from North to East; on the image both change sign.
    mass = {
        "theta_E": lens["theta_e_arcsec"],
        "e1": -lens["mass_e1"],
        "e2": -lens["mass_e2"],
        "center_x": 0.0,
        "center_y": 0.0,
    }
    shear = {"gamma1": lens["shear_1"], "gamma2": lens["shear_2"], "ra_0": 0.0, "dec_0": 0.0}
    satellites = [
        {"theta_E": theta, "center_x": sx, "center_y": sy}
        for sx, sy, theta in lens.get("satellites", ())
    ]
    # The axis is where the satellites would move the centre of the lens to.
    position = np.array([lens["beta_1"], lens["beta_2"]]) * lens["theta_e_arcsec"]
    for satellite in satellites:
        direction = np.array([satellite["center_x"], satellite["center_y"]])
        position += satellite["theta_E"] * direction / np.hypot(*direction)
    parts = _source(lens, position)
    deflector, light = _models(len(satellites), len(parts) - 1)
    u, v = deflector.ray_shooting(x, y, [mass, shear, *satellites])
    near = (u - position[0]) ** 2 + (v - position[1]) ** 2 < (reach * lens["source_r_half"]) ** 2
    brightness = np.zeros(len(x))
    brightness[near] = light.surface_brightness(u[near], v[near], parts)
    body = _models(0, 0)[1].total_flux(parts[:1])[0]
    return brightness, body + sum(part["amp"] for part in parts[1:])


def _source(lens: Mapping[str, Any], position: np.ndarray) -> list[dict[str, float]]:
    """Body and clumps of a source, with the parameters of lenstronomy."""
    rng = np.random.default_rng(int(lens["clump_seed"]))
    radius = lens["source_r_half"]
    ratio, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
    modulus = (1 - ratio) / (1 + ratio)
    body = {
        "amp": 1.0,
        "R_sersic": radius,
        "n_sersic": rng.uniform(0.7, 1.6),
        "e1": modulus * np.cos(2 * angle),
        "e2": modulus * np.sin(2 * angle),
        "center_x": position[0],
        "center_y": position[1],
    }
    flux = _models(0, 0)[1].total_flux([body])[0]
    parts = [body]
    for _ in range(rng.integers(0, 6)):
        centre = position + rng.normal(0, radius, 2)
        sigma = rng.uniform(0.1, 0.25) * radius
        amplitude = rng.uniform(0.04, 0.2) * flux
        parts.append(
            {"amp": amplitude, "sigma": sigma, "center_x": centre[0], "center_y": centre[1]}
        )
    return parts


def blurred_arcs(
    lens: Mapping[str, Any],
    fluxes: ArrayLike,
    psfs: Sequence[Psf],
    size: int,
    pixel_scale_arcsec: float,
    offset: tuple[float, float] = (0.0, 0.0),
    oversampling: int | None = None,
) -> tuple[np.ndarray, float]:
    """Render the images of a lensed source as seen through the PSF.

    Surface brightness is conserved, so that the flux of the arcs is that of the source times the
    magnification. The source has the same shape in all bands. Return the images, (B, s, s),
    nanomaggies per pixel, the lens near the centre, where s is odd and at most `size`, with no
    light outside; and the magnification, the total flux of the images over that of the source.

    Parameters
    ----------
    lens
        As for `lensed_light`.
    fluxes
        (B,) of the unlensed source, nanomaggies.
    psfs
        (B,) PSF in each band.
    size
        Maximum side of the images, pixels; odd.
    offset
        Position of the lens relative to the centre of the central pixel, pixels in x and y.
    oversampling
        Rays per pixel along each axis; 2 to 5 by the size of the source if not given.
    """
    distance = np.hypot(lens["beta_1"], lens["beta_2"]) * lens["theta_e_arcsec"]
    reach = _IMAGE_REACH * lens["theta_e_arcsec"] + distance + _SOURCE_REACH * lens["source_r_half"]
    reach += sum(theta for _, _, theta in lens.get("satellites", ()))
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
    kx = 2 * np.pi * fft.rfftfreq(side, pixel_scale_arcsec).astype(np.float32)[None, :]
    ky = 2 * np.pi * fft.fftfreq(side, pixel_scale_arcsec).astype(np.float32)[:, None]
    moved = pixel_scale_arcsec * (offset[0] * kx + offset[1] * ky)
    waves *= np.exp(-1j * moved).astype(np.complex64)
    blurred = np.stack([fft.irfft2(waves * psf.transform(kx, ky), (side, side)) for psf in psfs])
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
