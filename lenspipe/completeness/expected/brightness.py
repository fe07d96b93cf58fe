"""Signal to noise of the arcs of simulated lenses in the search's images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lenspipe.config.surveys.base import Release
from lenspipe.simulation.injection import gain, noise_from_depth
from lenspipe.simulation.lenses import arc_snr, is_visible, sphere_magnification
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.simulation.psf import Psf
from lenspipe.survey.photometry import to_flux, to_magnitude
from lenspipe.utils.progress import track

__all__ = ["estimate_snr", "lens_light", "trace_arcs"]

#: De Vaucouleurs' profile: slope, and ratio of the total flux to the brightness at the half-light
#: radius times that radius squared.
_SERSIC_SLOPE, _TOTAL_FLUX_RATIO = 7.669, 22.67


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


def lens_light(
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
    light = lens_light(flux, radius[:, None], theta_e[:, None], fwhm, scale)
    noise = np.sqrt(sky**2 + light / electrons)
    source_mags = table[[f"source_mag_{band}" for band in bands]].to_numpy()
    sources = to_flux(source_mags, release.zero_point_mag)
    beta = np.hypot(table["beta_1"], table["beta_2"]).to_numpy()
    return _spot_snr(sources, theta_e, beta, r_half, fwhm, noise, scale)


def _spot_snr(
    fluxes: np.ndarray,
    theta_e: np.ndarray,
    beta: np.ndarray,
    r_half: np.ndarray,
    fwhm: np.ndarray,
    noise: np.ndarray,
    pixel_scale_arcsec: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the signal to noise of arcs from the images of a sphere, taken as two round spots.

    Return the signal to noise, (N, B), as `lenspipe.simulation.lenses.arc_snr` has it, and the
    magnification, (N,).

    Parameters
    ----------
    fluxes
        (N, B) of the unlensed sources, nanomaggies.
    theta_e, beta, r_half
        (N,) Einstein radius, arcsec; distance of the source from the axis in units of it;
        half-light radius of the source, arcsec.
    fwhm, noise
        (B,) or (N, B) seeing, arcsec; noise per pixel at the images, nanomaggies.
    """
    magnification = sphere_magnification(theta_e, beta, r_half)[:, None]
    spots = 4 * np.pi * (fwhm / 2.355) ** 2
    spots = spots + 2 * np.pi * magnification * (r_half[:, None] / 1.18) ** 2
    pixels = spots / pixel_scale_arcsec**2
    flux = fluxes * magnification
    peak = np.maximum(flux / pixels / noise, 1 + 1e-9)
    # Flux and noise of the pixels of a Gaussian spot that are brighter than the noise.
    snr = flux * (1 - 1 / peak) / (noise * np.sqrt(pixels * np.log(peak)))
    return snr, magnification[:, 0]


def trace_arcs(
    table: pd.DataFrame, bands: Sequence[str], size: int, release: Release
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ray-trace lenses and measure their arcs as they would be observed.

    Lenses are those of `estimate_snr`; `size` is the side of a cutout in pixels.

    Returns
    -------
    snr
        As in `lenspipe.simulation.lenses.arc_snr`, with the noise of the sky, of the lens's light
        and of the arcs, shape (N, B).
    magnification
        Shape (N,).
    mags
        Of the arcs, AB, shape (N, B).
    visible
        As in `lenspipe.simulation.lenses.is_visible`, shape (N,).

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
    visible = np.zeros(len(table), bool)
    rows = enumerate(table.to_dict("records"))
    for i, lens in track(rows, "lenses of the population", len(table)):
        psfs = [Psf.round(width) for width in fwhm[i]]
        arcs, magnification[i] = blurred_arcs(lens, sources[i], psfs, size, scale)
        per_band = (slice(None), None, None)
        edge = (size - arcs.shape[-1]) // 2
        near = distance[edge : size - edge, edge : size - edge]
        light = lens_light(flux[i][per_band], radius[i], near, fwhm[i][per_band], scale)
        variance = sky[i][per_band] ** 2 + (light + arcs) / electrons[i][per_band]
        snr[i] = arc_snr(arcs, variance)
        noise, seeing = np.sqrt(variance), float(fwhm[i, 0])
        visible[i], _ = is_visible(arcs, light, noise, lens, magnification[i], seeing, scale)
    mags = to_magnitude(sources * magnification[:, None], release.zero_point_mag)
    return snr, magnification, mags, visible
