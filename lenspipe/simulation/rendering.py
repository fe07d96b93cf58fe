"""Rendering of the components of the simulated sky onto the image of a brick, band by band."""

import functools
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import galsim
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import fft

from lenspipe.simulation.conditions import BANDS
from lenspipe.simulation.lensing import arc_image
from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC

__all__ = ["TEXTURE_PIXELS", "Stamp", "moffat", "render_brick"]

#: Image of a component with the column and row of its lower left pixel on the brick.
Stamp = tuple[np.ndarray, int, int]

#: Moffat index of the PSF, core and wings alike.
MOFFAT_BETA = 3.5

#: Oversampling, and side in coadd pixels, of stamps that are rendered without the PSF first.
OVERSAMPLING = 3
TEXTURE_PIXELS = 75

#: Accuracy of GalSim's Fourier images; errors of 1 % of a component lie far below the noise.
_ACCURACY = galsim.GSParams(
    folding_threshold=1e-2, maxk_threshold=1e-2, kvalue_accuracy=1e-3, maximum_fft_size=16384
)

#: Faint sources are rendered from templates of this side, pixels.
_TEMPLATE_PIXELS = 33

#: Positions within a pixel, along each axis, that have a template of their own.
_SUBPIXELS = 4

#: Half-light radii of the templates, arcsec.
_TEMPLATE_RADII = np.array([0.0, 0.25, 0.35, 0.45, 0.6, 0.8])

#: Flux below which a round component is faint enough for a template, nanomaggies.
_TEMPLATE_FLUX = 4.0


def moffat(radius_arcsec: ArrayLike, fwhm_arcsec: float) -> np.ndarray:
    """Moffat profile of unit flux, per square arcsec (Moffat 1969)."""
    alpha = fwhm_arcsec / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    norm = (MOFFAT_BETA - 1) / (np.pi * alpha**2)
    return norm * (1 + (np.asarray(radius_arcsec) / alpha) ** 2) ** -MOFFAT_BETA


def render_brick(
    components: pd.DataFrame,
    lenses: Mapping[Hashable, Mapping[str, Any]],
    x: np.ndarray,
    y: np.ndarray,
    fwhm: Mapping[str, float],
) -> tuple[dict[str, np.ndarray], dict[int, list[Stamp]]]:
    """Render a brick without noise.

    Return the images by band, float32 (3600, 3600), nanomaggies per pixel, and by source number
    stamps in g, r, z of the arcs alone.

    Parameters
    ----------
    components
        As returned by `lenspipe.simulation.population.draw_population`, on or near the brick.
    lenses
        Source number -> row with the parameters of the ray tracing, for components ``arc``.
    x, y
        Pixel positions of the components, counted from 0.
    fwhm
        Band -> seeing, arcsec.
    """
    arcs: dict[int, list[Stamp]] = {}
    canvas = {band: np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.float32) for band in BANDS}
    fluxes = components[[f"flux_{band}" for band in BANDS]].to_numpy()
    profile = components["profile"].to_numpy()
    round_ = (components["e1"].abs() + components["e2"].abs() < 0.02).to_numpy()
    faint = (fluxes.max(axis=1) < _TEMPLATE_FLUX) & np.isin(profile, ["sersic", "psf"]) & round_
    for i, band in enumerate(BANDS):
        radius = np.where(profile == "psf", 0.0, components["r_half"])[faint]
        _add_faint(canvas[band], x[faint], y[faint], radius, fluxes[faint, i], fwhm[band])
    # Components are added in a fixed order, so that equal seeds give equal bytes.
    for row, px, py, flux in zip(
        components[~faint].to_dict("records"), x[~faint], y[~faint], fluxes[~faint], strict=True
    ):
        stamps: Iterable[Stamp]
        if row["profile"] == "psf":
            stamps = _star_stamps(px, py, flux, fwhm)
        elif row["profile"] == "sersic":
            stamps = _sersic_stamps(row, px, py, flux, fwhm)
        else:
            textured = list(_texture_stamps(row, lenses, px, py, flux, fwhm))
            stamps = textured
            if row["profile"] == "arc":
                arcs[row["number"]] = textured
        for band, (stamp, left, bottom) in zip(BANDS, stamps, strict=True):
            _add(canvas[band], stamp, left, bottom)
    return canvas, arcs


def _add(canvas: np.ndarray, stamp: np.ndarray, left: int, bottom: int) -> None:
    """Add a stamp whose lower left pixel lies at (left, bottom), cut at the edge of the canvas."""
    height, width = stamp.shape
    y0, y1 = max(bottom, 0), min(bottom + height, canvas.shape[0])
    x0, x1 = max(left, 0), min(left + width, canvas.shape[1])
    if y0 < y1 and x0 < x1:
        canvas[y0:y1, x0:x1] += stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left]


@functools.cache
def _template(radius: float, fwhm: float, x_step: int, y_step: int) -> np.ndarray:
    shift = (np.array([x_step, y_step]) + 0.5) / _SUBPIXELS - 0.5
    image = galsim.ImageF(_TEMPLATE_PIXELS, _TEMPLATE_PIXELS, scale=PIXEL_SCALE_ARCSEC)
    profile = galsim.Moffat(beta=MOFFAT_BETA, fwhm=fwhm, gsparams=_ACCURACY)
    if radius > 0:
        body = galsim.Exponential(half_light_radius=radius, gsparams=_ACCURACY)
        profile = galsim.Convolve(body, profile)
    profile.drawImage(image, method="no_pixel", offset=tuple(shift))
    return image.array


def _add_faint(
    canvas: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    flux: np.ndarray,
    fwhm: float,
) -> None:
    """Add faint round sources from the template nearest in radius and in position on the pixel."""
    nearest = np.abs(radius[:, None] - _TEMPLATE_RADII[None, :]).argmin(axis=1)
    column, row = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    x_step = np.floor((x + 0.5 - column) * _SUBPIXELS).astype(int)
    y_step = np.floor((y + 0.5 - row) * _SUBPIXELS).astype(int)
    half = _TEMPLATE_PIXELS // 2
    for i in range(len(x)):
        stamp = _template(_TEMPLATE_RADII[nearest[i]], fwhm, x_step[i], y_step[i])
        _add(canvas, np.float32(flux[i]) * stamp, column[i] - half, row[i] - half)


def _star_stamps(
    x: float, y: float, flux: np.ndarray, fwhm: Mapping[str, float]
) -> Iterator[Stamp]:
    """Stars by formula, out to a thousandth of the sky noise."""
    half = int(np.clip(18 * (flux.max() / 10) ** (0.5 / MOFFAT_BETA), 16, 1200))
    column, row = round(x), round(y)
    axis = np.arange(-half, half + 1)
    dx, dy = (axis - (x - column)) * PIXEL_SCALE_ARCSEC, (axis - (y - row)) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(dx[None, :], dy[:, None])
    for i, band in enumerate(BANDS):
        stamp = flux[i] * PIXEL_SCALE_ARCSEC**2 * moffat(radius, fwhm[band])
        yield stamp.astype(np.float32), column - half, row - half


def _sersic_stamps(
    row: Mapping[str, Any], x: float, y: float, flux: np.ndarray, fwhm: Mapping[str, float]
) -> Iterator[Stamp]:
    # GalSim keeps a table for each index; steps of a half are enough.
    index = float(np.clip(np.round(2 * row["sersic"]) / 2, 0.5, 6.0))
    radius = row["r_half"]
    body = galsim.Sersic(index, radius, trunc=8 * radius, flux_untruncated=True, gsparams=_ACCURACY)
    body = body.shear(g1=-row["e1"], g2=-row["e2"])
    # Large enough that the light cut off lies below the noise of the deepest images.
    half = int(np.clip(20 + 12 * radius * np.log10(1 + flux.max()), 24, 160))
    column, line = round(x), round(y)
    for i, band in enumerate(BANDS):
        psf = galsim.Moffat(beta=MOFFAT_BETA, fwhm=fwhm[band], gsparams=_ACCURACY)
        image = galsim.ImageF(2 * half + 1, 2 * half + 1, scale=PIXEL_SCALE_ARCSEC)
        galsim.Convolve(body, psf).drawImage(
            image, method="no_pixel", offset=(x - column, y - line)
        )
        yield flux[i] * image.array, column - half, line - half


def _texture_stamps(
    row: Mapping[str, Any],
    lenses: Mapping[Hashable, Mapping[str, Any]],
    x: float,
    y: float,
    flux: np.ndarray,
    fwhm: Mapping[str, float],
) -> Iterator[Stamp]:
    """Components with structure: finely sampled without PSF, convolved, binned to pixels."""
    column, line = round(x), round(y)
    shift = (x - column, y - line)
    if row["profile"] == "arc":
        image = arc_image(lenses[row["number"]], PIXEL_SCALE_ARCSEC / OVERSAMPLING, _FINE)
        fine = _shifted(image, shift)
    else:
        fine = _TEXTURES[row["profile"]](row, *_fine_grid(shift))
        fine = fine / fine.sum()
    half = TEXTURE_PIXELS // 2
    for band_flux, image in zip(flux, _observe(fine, fwhm), strict=True):
        yield (band_flux * image).astype(np.float32), column - half, line - half


_FINE = TEXTURE_PIXELS * OVERSAMPLING


def _fine_grid(shift: tuple[float, float]) -> tuple[np.ndarray, ...]:
    axis = (np.arange(_FINE) - (_FINE - 1) / 2) * PIXEL_SCALE_ARCSEC / OVERSAMPLING
    return np.meshgrid(axis - shift[0] * PIXEL_SCALE_ARCSEC, axis - shift[1] * PIXEL_SCALE_ARCSEC)


def _shifted(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Move a finely sampled image by whole fine pixels, to within a sixth of a coadd pixel."""
    steps = np.round(np.array(shift) * OVERSAMPLING).astype(int)
    return np.roll(image, (steps[1], steps[0]), axis=(0, 1))


#: Side of the finely sampled PSF, and a size at which its convolution with an image is fast.
_FINE_PSF = 2 * 12 * OVERSAMPLING + 1

_FFT_SHAPE = 2 * (fft.next_fast_len(_FINE + _FINE_PSF - 1, real=True),)


@functools.lru_cache(64)
def _psf_transform(fwhm: float) -> np.ndarray:
    axis = (np.arange(_FINE_PSF) - _FINE_PSF // 2) * PIXEL_SCALE_ARCSEC / OVERSAMPLING
    psf = moffat(np.hypot(axis[None, :], axis[:, None]), fwhm)
    return fft.rfft2(psf / psf.sum(), _FFT_SHAPE)


def _observe(fine: np.ndarray, fwhm: Mapping[str, float]) -> Iterator[np.ndarray]:
    """Convolve a finely sampled image with the PSF of each band and bin it to pixels."""
    transform = fft.rfft2(fine, _FFT_SHAPE)
    inner = slice(_FINE_PSF // 2, _FINE_PSF // 2 + _FINE)
    shape = (TEXTURE_PIXELS, OVERSAMPLING, TEXTURE_PIXELS, OVERSAMPLING)
    for band in BANDS:
        blurred = fft.irfft2(transform * _psf_transform(fwhm[band]), _FFT_SHAPE)[inner, inner]
        yield blurred.reshape(shape).sum(axis=(1, 3))


def _polar(row: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radius and angle in the plane of a tilted disk."""
    modulus = np.hypot(row["e1"], row["e2"])
    axis = 0.5 * np.arctan2(-row["e2"], -row["e1"])
    ratio = (1 - modulus) / (1 + modulus)
    u = np.cos(axis) * x + np.sin(axis) * y
    v = (np.cos(axis) * y - np.sin(axis) * x) / ratio
    return np.hypot(u, v), np.arctan2(v, u)


def _spiral(row: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exponential disk with logarithmic arms and knots of star formation along them."""
    radius, angle = _polar(row, x, y)
    scale = row["r_half"] / 1.678
    disk = np.exp(-radius / scale)
    phase = row["p0"] * (angle - np.log(radius.clip(0.05) / scale) / row["p1"]) + row["p2"]
    arms = ((1 + np.cos(phase)) / 2) ** 2
    knots = _knots(row["p4"], x, y, 10 * disk.clip(max=1))
    return disk * (1 - row["p3"] + 2.7 * row["p3"] * arms * (1 + knots))


def _ring(row: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ring of young stars with knots, somewhat brighter on one side."""
    radius, angle = _polar(row, x, y)
    ring = np.exp(-0.5 * ((radius - row["p0"]) / row["p1"]) ** 2)
    return ring * (1 + row["p3"] * np.cos(angle - row["p2"])) * (1 + _knots(row["p4"], x, y, 1.0))


def _tail(row: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tidal tail: an arc of a circle that passes through the galaxy, fading outwards."""
    x = row["p4"] * x
    centre = row["p0"] * np.array([np.cos(row["p2"]), np.sin(row["p2"])])
    radius = np.hypot(x - centre[0], y - centre[1])
    angle = np.angle(np.exp(1j * (np.arctan2(y - centre[1], x - centre[0]) - row["p2"] - np.pi)))
    along = np.exp(-np.abs(angle) / (0.5 * row["p3"])) * (angle > -0.2)
    return np.exp(-0.5 * ((radius - row["p0"]) / row["p1"]) ** 2) * along


def _knots(seed: int, x: np.ndarray, y: np.ndarray, strength: ArrayLike) -> np.ndarray:
    """Relative brightness of clumps scattered over a galaxy."""
    rng = np.random.default_rng(int(seed))
    total = np.zeros_like(x)
    for _ in range(14):
        (x0, y0), peak, width = rng.normal(0, 2.2, 2), rng.uniform(0.3, 1.5), rng.uniform(0.15, 0.4)
        across = np.exp(-0.5 * ((x[0] - x0) / width) ** 2)
        along = np.exp(-0.5 * ((y[:, 0] - y0) / width) ** 2)
        total += peak * np.outer(along, across)
    return total * np.minimum(strength, 1)


_TEXTURES = {"spiral": _spiral, "ring": _ring, "tail": _tail}
