"""How bright the arcs of drawn lenses are beside the noise of the search's images."""

import numpy as np

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.simulation.injection import arc_snr, gain, spot_snr
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.simulation.population import magnitude, nanomaggies
from lenspipe.utils.progress import track

__all__ = ["can_be_seen", "estimate_snr", "noise_of_depth", "trace"]

#: Half-light radius of the galaxy that `galdepth` is for, arcsec.
_DEPTH_RADIUS = 0.45

#: Of de Vaucouleurs' profile: slope, and total flux over that of the half-light radius' brightness
#: in a square of that radius.
_SLOPE, _TOTAL = 7.669, 22.67


def noise_of_depth(galdepth, fwhm):
    """Noise per pixel behind a depth.

    That of a flux is the noise per pixel times the root of the pixels that the galaxy covers,
    4 pi s^2 for a Gaussian of width s.

    Parameters
    ----------
    galdepth : array_like
        Inverse variance of the flux of a galaxy of 0.45 arcsec, 1 / nanomaggy^2.
    fwhm : array_like
        Seeing, arcsec.

    Returns
    -------
    ndarray
        Nanomaggies per pixel of a coadd.
    """
    width2 = (np.asarray(fwhm, float) / 2.355) ** 2 + (_DEPTH_RADIUS / 1.18) ** 2
    return np.sqrt(PIXEL_SCALE_ARCSEC**2 / (4 * np.pi * width2 * np.asarray(galdepth, float)))


def _conditions(table, bands):
    """Seeing, sky noise, gain and the lens's flux: (N, B) arrays; its half-light radius: (N,)."""
    columns = {}
    for kind in ("psfsize", "galdepth", "mag"):
        columns[kind] = table[[f"{kind}_{band}" for band in bands]].to_numpy(np.float64)
    sky = noise_of_depth(columns["galdepth"], columns["psfsize"])
    radius = table["shape_r"].to_numpy(np.float64).clip(0.1)
    return columns["psfsize"], sky, gain(sky, bands), nanomaggies(columns["mag"]), radius


def _light(flux, radius, at, fwhm):
    """Brightness of de Vaucouleurs' profile per pixel, its middle smoothed by the seeing."""
    distance = np.hypot(at, fwhm / 2.355) / radius
    peak = flux / (_TOTAL * radius**2) * PIXEL_SCALE_ARCSEC**2
    return peak * np.exp(-_SLOPE * (distance**0.25 - 1))


def estimate_snr(table, bands):
    """Estimate signal to noise without ray tracing: images of a sphere as two round spots.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.completeness.expected.population.draw_lenses`, before tracing.
    bands : sequence of str

    Returns
    -------
    snr : (N, B) float array
    magnification : (N,) float array
    """
    fwhm, sky, electrons, flux, radius = _conditions(table, bands)
    theta_e, r_half = (table[name].to_numpy() for name in ("theta_e_arcsec", "source_r_half"))
    light = _light(flux, radius[:, None], theta_e[:, None], fwhm)
    noise = np.sqrt(sky**2 + light / electrons)
    sources = nanomaggies(table[[f"source_mag_{band}" for band in bands]].to_numpy())
    beta = np.hypot(table["beta_1"], table["beta_2"]).to_numpy()
    return spot_snr(sources, theta_e, beta, r_half, fwhm, noise)


def trace(table, bands, size):
    """Ray-trace lenses and measure their arcs as they would be seen.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `estimate_snr`.
    bands : sequence of str
    size : int
        Side of a cutout, pixels.

    Returns
    -------
    snr : (N, B) float array
        As `lenspipe.simulation.injection.arc_snr` counts it: noise of the sky and of the lens's
        light.
    magnification : (N,) float array
    mags : (N, B) float array
        AB, of the arcs.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed.
    """
    fwhm, sky, electrons, flux, radius = _conditions(table, bands)
    sources = nanomaggies(table[[f"source_mag_{band}" for band in bands]].to_numpy())
    offset = (np.arange(size) - size // 2) * PIXEL_SCALE_ARCSEC
    distance = np.hypot(offset[:, None], offset)
    snr, magnification = np.zeros(fwhm.shape), np.zeros(len(table))
    rows = enumerate(table.to_dict("records"))
    for i, lens in track(rows, "lenses of the population", len(table)):
        arcs, magnification[i] = blurred_arcs(lens, sources[i], fwhm[i], size)
        column = (slice(None), None, None)
        light = _light(flux[i][column], radius[i], distance, fwhm[i][column])
        snr[i] = arc_snr(arcs, sky[i][column] ** 2 + light / electrons[i][column])
    return snr, magnification, magnitude(sources * magnification[:, None])


def can_be_seen(table, snr, bands, least=20.0):
    """Which lenses Collett (2015, ApJ 811, 20, sect. 3) counts as detectable, in any band.

    Signal to noise above 20; theta_E^2 > r_half^2 + (seeing / 2)^2; magnification above 3, and
    times the half-light radius above the seeing.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.completeness.expected.population.draw_lenses`.
    snr : (N, B) float array
    bands : sequence of str
    least : float
        Signal to noise.

    Returns
    -------
    (N,) bool array
    """
    fwhm = table[[f"psfsize_{band}" for band in bands]].to_numpy(np.float64)
    r_half, theta_e, magnification = (
        table[[name]].to_numpy() for name in ("source_r_half", "theta_e_arcsec", "magnification")
    )
    resolved = theta_e**2 > r_half**2 + (fwhm / 2) ** 2
    stretched = (magnification > 3) & (magnification * r_half > fwhm)
    return ((snr > least) & resolved & stretched).any(axis=1)
