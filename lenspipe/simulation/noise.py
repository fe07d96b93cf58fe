"""Noise of the simulated sky, correlated between pixels as in the survey's coadds.

The survey resamples each exposure onto the coadd's pixels with a Lanczos kernel of order 3. Where a
pixel of the coadd falls between pixels of the detector, its noise is an average over neighbours.
The correlation therefore depends on where the pixels of the exposures lie, and on the size of the
detector's pixels. With nothing fitted it is that of real coadds (`benchmarks/noise.py`):

- sky of 23 stamps of coadds of the Dark Energy Survey and of one of DR9 (256 x 256 pixels), mean of
  g, r and z at lags 1 to 4 along the axes: 0.116, -0.072, 0.031, -0.002, +- 0.005 (here 0.118,
  -0.080, 0.029, -0.003); 0.016 at (1, 1) (here 0.014). At lag 1 it varies by 0.037 from stamp to
  stamp, mean of both axes (here 0.033);
- sky of 5 stamps of DR10 from the cutout service, which resamples coadds once more: 0.226, -0.135,
  0.040, 0.007, +- 0.015 (here 0.205, -0.135, 0.036, 0.006);
- sky of a BASS coadd of DR6 in g, from pixels of 0.455 arcsec: 0.589, -0.017, -0.122, 0.021 (here
  0.593, -0.019, -0.142, 0.000). The noise in boxes of many pixels is 1.7 to 2 times what its
  inverse variance says, in the simulation 1.7.

Outside sources, what bands have in common subtracted. The noise per pixel is 0.90 of what inverse
variance says in the DR9 coadd (here 0.89), and 0.85 in the BASS coadd (here 0.89).
"""

import functools

import numpy as np
from scipy.ndimage import convolve1d

from lenspipe.simulation.exposures import (
    BANDS,
    TILE_PIXELS,
    TILES,
    Exposures,
    StampConditions,
    sky_flux,
)
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC

__all__ = ["brick_noise", "kernels", "large_scale_noise", "stamp_noise", "variance"]

#: Size of the pixels of the detectors, arcsec: of DECam; of 90prime (BASS), and of Mosaic-3 (MzLS).
DETECTOR_ARCSEC = {
    "south": {"g": 0.2637, "r": 0.2637, "z": 0.2637},
    "north": {"g": 0.4547, "r": 0.4547, "z": 0.2600},
}

#: Number of lags of the covariance, and reach of the kernels, pixels.
_LAGS = 8
_REACH = 6

#: Number of positions of pixels on the detector's pixels for which covariances are tabulated.
_PHASES = 32


def variance(flux: np.ndarray, invvar: np.ndarray, band: str) -> np.ndarray:
    """Variance per pixel, nanomaggies^2, of sky and sources; 0 where the inverse variance is 0.

    `flux` is that of the sources, nanomaggies per pixel.
    """
    result = np.maximum(flux, 0)
    result /= np.float32(sky_flux(band))
    result += 1
    return np.divide(result, invvar, out=np.zeros_like(invvar), where=invvar > 0)


def brick_noise(
    rng: np.random.Generator, exposures: Exposures, variance: np.ndarray, correlated: bool = True
) -> np.ndarray:
    """Noise of a brick in one band, float32, given the variance of each pixel."""
    white = rng.standard_normal(variance.shape, np.float32)
    white *= np.sqrt(variance)
    if not correlated:
        return white
    result = np.empty_like(white)
    centres = (np.arange(TILES) + 0.5) * TILE_PIXELS - 0.5
    for row, y in enumerate(centres):
        for column, x in enumerate(centres):
            kernel = kernels(*exposures.weights_and_phases(x, y), exposures.region, exposures.band)
            tile = (
                slice(row * TILE_PIXELS, (row + 1) * TILE_PIXELS),
                slice(column * TILE_PIXELS, (column + 1) * TILE_PIXELS),
            )
            result[tile] = _convolved_tile(white, tile, kernel)
    return result


def _convolved_tile(white: np.ndarray, tile: tuple[slice, slice], kernel: np.ndarray) -> np.ndarray:
    """Convolve a tile of an image, with the pixels around it; the image's edges are reflected."""
    starts = [max(part.start - _REACH, 0) for part in tile]
    stops = [min(part.stop + _REACH, side) for part, side in zip(tile, white.shape, strict=True)]
    around = white[starts[0] : stops[0], starts[1] : stops[1]]
    inner = tuple(
        slice(part.start - start, part.stop - start)
        for part, start in zip(tile, starts, strict=True)
    )
    along_x = convolve1d(around, kernel[0], axis=1)[:, inner[1]]
    return convolve1d(along_x, kernel[1], axis=0)[inner[0]]


def stamp_noise(
    rng: np.random.Generator,
    conditions: StampConditions,
    images: np.ndarray,
    correlated: bool = True,
) -> np.ndarray:
    """Noise of a stamp, float32 (B, S, S), given its noiseless images, nanomaggies per pixel."""
    noise = rng.standard_normal(images.shape, np.float32)
    sigma = conditions.sigma.astype(np.float32)[:, None, None]
    gain = conditions.gain.astype(np.float32)[:, None, None]
    noise *= np.sqrt(sigma**2 + np.maximum(images, 0) / gain)
    if not correlated:
        return noise
    for i, band in enumerate(BANDS):
        kernel = kernels(
            conditions.weights[i], conditions.phases[i], conditions.region, band,
            conditions.service_phase,
        )  # fmt: skip
        along_x = convolve1d(noise[i], kernel[0], axis=1)
        noise[i] = convolve1d(along_x, kernel[1], axis=0)
    return noise


def kernels(
    weights: np.ndarray,
    phases: np.ndarray,
    region: str,
    band: str,
    service_phase: tuple[float, float] | None = None,
) -> np.ndarray:
    """Kernels along x and y, (2, T), that give white noise the correlation of a coadd.

    White noise of the standard deviation that the inverse variance says gets a smaller one, as in
    real coadds: 0.89 of it.

    Parameters
    ----------
    weights, phases
        As returned by `Exposures.weights_and_phases`.
    service_phase
        Position of the pixels on the coadd's, if the coadd is resampled once more.
    """
    table = _covariances(DETECTOR_ARCSEC[region][band])
    steps = (phases * _PHASES).astype(int) % _PHASES
    covariance = np.einsum("e,eal->al", weights, table[steps])
    power = covariance @ _cosines()
    if service_phase is not None:
        service = _covariances(PIXEL_SCALE_ARCSEC)[
            (np.array(service_phase) * _PHASES).astype(int) % _PHASES
        ]
        power *= service @ _cosines()
    # The square root of the power spectrum gives a symmetric kernel.
    kernel = np.sqrt(power.clip(0)) @ _inverse_cosines()
    square = np.sqrt(power.mean(axis=1) / (kernel**2).sum(axis=1))
    return kernel * square[:, None]


def large_scale_noise(region: str, band: str) -> float:
    """Noise of sums over many pixels, relative to what the inverse variance says."""
    covariance = _covariances(DETECTOR_ARCSEC[region][band]).mean(axis=0)
    return float(covariance[0] + 2 * covariance[1:].sum())


#: Wavenumbers at which spectra are tabulated, radians per pixel.
_WAVENUMBERS = 2 * np.pi * np.arange(64) / 64


@functools.cache
def _cosines() -> np.ndarray:
    """Transform of covariances at lags from 0, (L, K)."""
    lags = np.arange(_LAGS)
    return np.where(lags > 0, 2, 1)[:, None] * np.cos(lags[:, None] * _WAVENUMBERS)


@functools.cache
def _inverse_cosines() -> np.ndarray:
    """Transform of spectra to symmetric kernels, (K, T)."""
    taps = np.arange(-_REACH, _REACH + 1)
    return np.cos(_WAVENUMBERS[:, None] * taps) / len(_WAVENUMBERS)


@functools.cache
def _covariances(detector_arcsec: float) -> np.ndarray:
    """Covariance at lags from 0 of resampled white noise, (phases, lags), for a size of pixels.

    If the pixels of the detector are not about as large as those of the coadd, neighbouring pixels
    of the coadd have different phases, and the mean over all phases is taken.
    """
    ratio = detector_arcsec / PIXEL_SCALE_ARCSEC
    phases = (np.arange(_PHASES) + 0.5) / _PHASES
    detector = np.arange(-4, 5 + _LAGS)
    result = np.zeros((_PHASES, _LAGS))
    for row, phase in zip(result, phases, strict=True):
        at = [_lanczos(phase + lag / ratio - detector) for lag in range(_LAGS)]
        row[:] = [at[0] @ other for other in at]
    return result if ratio < 1.1 else np.broadcast_to(result.mean(axis=0), result.shape)


def _lanczos(x: np.ndarray) -> np.ndarray:
    """Weights of a Lanczos kernel of order 3, which add up to 1."""
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum()
