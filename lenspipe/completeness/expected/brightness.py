"""Signal to noise of the arcs of simulated lenses in the search's images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.config.surveys.base import Release
from lenspipe.simulation.injection import arc_snr, gain, spot_snr
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.survey.photometry import to_flux, to_magnitude
from lenspipe.utils.progress import track

__all__ = ["estimate_snr", "is_detectable", "noise_from_depth", "trace_arcs"]

#: Half-light radius of the galaxy that `galdepth` refers to.
_GALDEPTH_RADIUS_ARCSEC = 0.45

#: De Vaucouleurs' profile: slope, and ratio of the total flux to the brightness at the half-light
#: radius times that radius squared.
_SERSIC_SLOPE, _TOTAL_FLUX_RATIO = 7.669, 22.67


def noise_from_depth(galdepth: ArrayLike, fwhm: ArrayLike, pixel_scale_arcsec: float) -> np.ndarray:
    """Noise per pixel of a coadd, nanomaggies.

    The noise of a flux is that per pixel times the root of the number of pixels that the galaxy
    covers, 4 pi s^2 for a Gaussian of width s. `galdepth` is the inverse variance of the flux of a
    galaxy of 0.45 arcsec, nanomaggy^-2; `fwhm` the seeing, arcsec.
    """
    width2 = (np.asarray(fwhm, float) / 2.355) ** 2 + (_GALDEPTH_RADIUS_ARCSEC / 1.18) ** 2
    return np.sqrt(pixel_scale_arcsec**2 / (4 * np.pi * width2 * np.asarray(galdepth, float)))


def _conditions(
    table: pd.DataFrame, bands: Sequence[str], release: Release
) -> tuple[np.ndarray, ...]:
    """Seeing, sky noise, gain and the lens's flux, each (N, B); its half-light radius, (N,)."""
    seeing, galdepth, mag = (
        table[[f"{prefix}_{band}" for band in bands]].to_numpy(np.float64)
        for prefix in ("psfsize", "galdepth", "mag")
    )
    sky = noise_from_depth(galdepth, seeing, release.pixel_scale_arcsec)
    radius = table["shape_r"].to_numpy(np.float64).clip(0.1)
    flux = to_flux(mag, release.zero_point_mag)
    return seeing, sky, gain(sky, bands, release), flux, radius


def _lens_light(
    flux: np.ndarray,
    radius: np.ndarray,
    distance: np.ndarray,
    fwhm: np.ndarray,
    pixel_scale_arcsec: float,
) -> np.ndarray:
    """Brightness of de Vaucouleurs' profile per pixel, its centre smoothed by the seeing."""
    scaled = np.hypot(distance, fwhm / 2.355) / radius
    peak = flux / (_TOTAL_FLUX_RATIO * radius**2) * pixel_scale_arcsec**2
    return peak * np.exp(-_SERSIC_SLOPE * (scaled**0.25 - 1))


def estimate_snr(
    table: pd.DataFrame, bands: Sequence[str], release: Release
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate arcs without ray tracing: images by a singular isothermal sphere as two round spots.

    Lenses are those of `lenspipe.completeness.expected.population.draw_lenses`, before tracing.
    Return signal to noise, (N, B), and magnification, (N,).
    """
    fwhm, sky, electrons, flux, radius = _conditions(table, bands, release)
    theta_e, r_half = (table[name].to_numpy() for name in ("theta_e_arcsec", "source_r_half"))
    scale = release.pixel_scale_arcsec
    light = _lens_light(flux, radius[:, None], theta_e[:, None], fwhm, scale)
    noise = np.sqrt(sky**2 + light / electrons)
    source_mags = table[[f"source_mag_{band}" for band in bands]].to_numpy()
    sources = to_flux(source_mags, release.zero_point_mag)
    beta = np.hypot(table["beta_1"], table["beta_2"]).to_numpy()
    return spot_snr(sources, theta_e, beta, r_half, fwhm, noise, scale)


def trace_arcs(
    table: pd.DataFrame, bands: Sequence[str], size: int, release: Release
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ray-trace lenses and measure their arcs as they would be observed.

    Lenses are those of `estimate_snr`; `size` is the side of a cutout in pixels.

    Returns
    -------
    snr
        As in `lenspipe.simulation.injection.arc_snr`, with the noise of the sky and of the lens's
        light, shape (N, B).
    magnification
        Shape (N,).
    mags
        Of the arcs, AB, shape (N, B).

    Raises
    ------
    LenspipeError
        lenstronomy is not installed.
    """
    fwhm, sky, electrons, flux, radius = _conditions(table, bands, release)
    source_mags = table[[f"source_mag_{band}" for band in bands]].to_numpy()
    sources = to_flux(source_mags, release.zero_point_mag)
    scale = release.pixel_scale_arcsec
    offset = (np.arange(size) - size // 2) * scale
    distance = np.hypot(offset[:, None], offset)
    snr, magnification = np.zeros(fwhm.shape), np.zeros(len(table))
    rows = enumerate(table.to_dict("records"))
    for i, lens in track(rows, "lenses of the population", len(table)):
        arcs, magnification[i] = blurred_arcs(lens, sources[i], fwhm[i], size, scale)
        per_band = (slice(None), None, None)
        light = _lens_light(flux[i][per_band], radius[i], distance, fwhm[i][per_band], scale)
        snr[i] = arc_snr(arcs, sky[i][per_band] ** 2 + light / electrons[i][per_band])
    mags = to_magnitude(sources * magnification[:, None], release.zero_point_mag)
    return snr, magnification, mags


def is_detectable(
    table: pd.DataFrame, snr: np.ndarray, bands: Sequence[str], min_snr: float = 20.0
) -> np.ndarray:
    """Which lenses are detectable in any band by Collett (2015, ApJ 811, 20, sect. 3).

    Signal to noise above 20; theta_E^2 > r_half^2 + (seeing / 2)^2; magnification above 3, and
    times the half-light radius above the seeing. Lenses are those of
    `lenspipe.completeness.expected.population.draw_lenses`, N rows; `snr` has shape (N, B).
    """
    fwhm = table[[f"psfsize_{band}" for band in bands]].to_numpy(np.float64)
    r_half, theta_e, magnification = (
        table[[name]].to_numpy() for name in ("source_r_half", "theta_e_arcsec", "magnification")
    )
    resolved = theta_e**2 > r_half**2 + (fwhm / 2) ** 2
    sheared = (magnification > 3) & (magnification * r_half > fwhm)
    return ((snr > min_snr) & resolved & sheared).any(axis=1)
