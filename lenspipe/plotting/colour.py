"""Colour images of cutouts in the stretches in which lenses are usually graded, and the inverse."""

from collections.abc import Sequence

import numpy as np
from astropy.visualization import (
    AsinhStretch,
    BaseStretch,
    LinearStretch,
    LogStretch,
    make_lupton_rgb,
)
from numpy.typing import ArrayLike

from lenspipe.utils.errors import LenspipeError

__all__ = [
    "BAND_SCALES",
    "STRETCHES",
    "colour_images",
    "lupton_rgb",
    "sky_level",
    "stretched_rgb",
    "viewer_fluxes",
    "viewer_rgb",
]

#: The sky viewer's factor on each band's flux in nanomaggies.
BAND_SCALES = {"g": 6.0, "r": 3.4, "i": 3.0, "z": 2.2}
_PEDESTAL = 0.03
_SOFTENING = 20.0
# Lupton's stretch in units of scaled flux, and the black point just below the sky.
_LUPTON_STRETCH = 0.15
_LUPTON_Q = 8.0
_LUPTON_BLACK = -0.02
# Stretches of each band on its own, and the scaled flux that is white. The linear one resolves
# faint light only; the black point of each follows from the level of the sky, the viewer's.
_SINGLE_BAND: dict[str, tuple[BaseStretch, float]] = {
    "linear": (LinearStretch(), 0.3),
    "asinh": (AsinhStretch(0.02), 2.0),
    "log": (LogStretch(100.0), 2.0),
}
_SKY = float(np.arcsinh(_SOFTENING * _PEDESTAL) / np.sqrt(_SOFTENING))

#: Names of the stretches of `colour_images`.
STRETCHES = ("viewer", "lupton", *_SINGLE_BAND)
# Pixels without data: diagonal stripes of two dark greys, unlike any sky.
_STRIPES = np.array([[38, 38, 42], [62, 62, 68]], dtype=np.uint8)


def viewer_rgb(images: ArrayLike, bands: Sequence[str] = ("g", "r", "z")) -> np.ndarray:
    """Colour images in the stretch of the Legacy Surveys' sky viewer.

    With x = max(0, scale * flux + 0.03) in each band and I their mean, a channel is
    x * asinh(20 I) / (sqrt(20) I), clipped to 0..1 (the viewer's ``sdss_rgb``,
    https://github.com/legacysurvey/imagine).

    Parameters
    ----------
    images
        Nanomaggies, (N, 3, S, S), from the bluest band to the reddest.
    bands
        The three bands.

    Returns
    -------
    uint8 array, shape (N, S, S, 3)
        Red, green, blue are the last, second and first band. A pixel without data in one band is
        dark in that band; one without data in all bands is striped grey.

    Raises
    ------
    LenspipeError
        Not three bands, or one without a known scale.
    """
    scaled, empty = _scaled(images, bands)
    x = np.maximum(0, scaled + np.float32(_PEDESTAL))
    intensity = np.maximum(x.mean(axis=1, keepdims=True), 1e-6)
    x *= np.arcsinh(_SOFTENING * intensity) / (np.sqrt(_SOFTENING) * intensity)
    rgb = (np.clip(x[:, ::-1], 0, 1) * 255).astype(np.uint8)
    return _striped(np.moveaxis(rgb, 1, -1), empty)


def viewer_fluxes(rgb: ArrayLike, bands: Sequence[str] = ("g", "r", "z")) -> np.ndarray:
    """Fluxes of colour images in the sky viewer's stretch: the inverse of `viewer_rgb`.

    Lost are what was clipped (negative noise, bright cores) and what 8 bits don't resolve.

    Parameters
    ----------
    rgb
        uint8, (N, S, S, 3).
    bands
        The three bands, from the bluest to the reddest.

    Returns
    -------
    float32 array, shape (N, 3, S, S)
        Nanomaggies.
    """
    x = np.moveaxis(np.asarray(rgb, np.float32) / 255, -1, 1)[:, ::-1]
    mean = x.mean(axis=1, keepdims=True)
    intensity = np.sinh(mean * np.sqrt(_SOFTENING)) / _SOFTENING
    scale = np.array([BAND_SCALES[band] for band in bands], np.float32)[:, None, None]
    return ((x * intensity / np.maximum(mean, 1e-6) - _PEDESTAL) / scale).astype(np.float32)


def lupton_rgb(images: ArrayLike, bands: Sequence[str] = ("g", "r", "z")) -> np.ndarray:
    """Colour images after Lupton et al. (2004, PASP 116, 133), which keep hues at any brightness.

    Arguments, results and scales of the bands are those of `viewer_rgb`.
    """
    scaled, empty = _scaled(images, bands)
    n, _, height, width = scaled.shape
    # All images stacked into one tall image: the stretch works pixel by pixel.
    blue, green, red = scaled.transpose(1, 0, 2, 3).reshape(3, n * height, width)
    if n == 0:
        return np.zeros((0, height, width, 3), np.uint8)
    rgb = make_lupton_rgb(
        red - _LUPTON_BLACK,
        green - _LUPTON_BLACK,
        blue - _LUPTON_BLACK,
        stretch=_LUPTON_STRETCH,
        Q=_LUPTON_Q,
    )
    return _striped(rgb.reshape(n, height, width, 3), empty)


def stretched_rgb(
    images: ArrayLike, bands: Sequence[str] = ("g", "r", "z"), stretch: str = "asinh"
) -> np.ndarray:
    """Colour images with each band stretched on its own by one of astropy's functions.

    Zero flux, the sky of coadds whose background is subtracted, has the level that it has in the
    sky viewer's stretch; black lies as far below it as follows from that.

    Parameters
    ----------
    images, bands
        As for `viewer_rgb`.
    stretch : {'linear', 'asinh', 'log'}
        `astropy.visualization.LinearStretch`, `AsinhStretch` with a = 0.02, or `LogStretch` with
        a = 100. White is a scaled flux of 0.3 in the first and 2 in the others.
    """
    scaled, empty = _scaled(images, bands)
    function, white = _SINGLE_BAND[stretch]
    sky = float(function.inverse(np.array([_SKY]))[0])
    black = -white * sky / (1 - sky)
    values = function(np.clip((scaled - black) / (white - black), 0, 1), clip=True)
    rgb = (values[:, ::-1] * 255).astype(np.uint8)
    return _striped(np.moveaxis(rgb, 1, -1), empty)


def sky_level(stretch: str) -> float:
    """Level of zero flux in a stretch of `colour_images`, 0 (black) to 1 (white)."""
    images = np.zeros((1, 3, 1, 1), np.float32)
    return float(colour_images(images, "grz", stretch).mean() / 255)


def colour_images(images: ArrayLike, bands: Sequence[str], stretch: str = "viewer") -> np.ndarray:
    """Colour images of cutouts in any bands.

    Parameters
    ----------
    images
        Nanomaggies, (N, B, S, S); NaN where there is no data.
    bands
        The B bands, bluest first. Of four, g, r and z are shown; of two, the redder one is both
        green and red; a single one is grey.
    stretch
        One of `STRETCHES`: see `viewer_rgb`, `lupton_rgb` and `stretched_rgb`.

    Returns
    -------
    uint8 array, shape (N, S, S, 3)
        In the orientation of the cutouts: row 0 is the south.

    Raises
    ------
    LenspipeError
        The images do not fit the bands.
    """
    images, bands = np.asarray(images), list(bands)
    if images.ndim != 4 or images.shape[1] != len(bands) or not bands:
        raise LenspipeError(
            f"colour images: found an array of shape {images.shape}, expected "
            f"(N, {len(bands)}, S, S) for the bands {', '.join(bands) or '(none)'}"
        )
    if {"g", "r", "z"} <= set(bands):
        shown = [bands.index(band) for band in "grz"]
    else:
        shown = [0, len(bands) // 2, len(bands) - 1]
    images, bands = images[:, shown], [bands[i] for i in shown]
    if stretch in _SINGLE_BAND:
        return stretched_rgb(images, bands, stretch)
    return {"viewer": viewer_rgb, "lupton": lupton_rgb}[stretch](images, bands)


def _scaled(images: ArrayLike, bands: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Scaled fluxes, 0 without data, (N, 3, S, S), and the pixels without data, (N, S, S)."""
    images = np.asarray(images, dtype=np.float32)
    unknown = [band for band in bands if band not in BAND_SCALES]
    if unknown or len(bands) != 3 or images.ndim != 4 or images.shape[1] != 3:
        raise LenspipeError(
            f"colour images: found shape {images.shape} in bands {', '.join(bands)}, expected "
            f"(N, 3, S, S) in three of {', '.join(BAND_SCALES)}"
        )
    scale = np.array([BAND_SCALES[band] for band in bands], np.float32)[:, None, None]
    finite = np.isfinite(images)
    return np.where(finite, images, 0) * scale, ~finite.any(axis=1)


def _striped(rgb: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Fill the pixels without data with stripes."""
    rows, columns = np.indices(empty.shape[1:])
    stripes = _STRIPES[(rows + columns) // 5 % 2]
    return np.where(empty[..., None], stripes, rgb)
