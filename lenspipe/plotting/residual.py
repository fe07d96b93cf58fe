"""Residuals of galaxies after subtraction of a smooth elliptical model: arcs, companions, arms."""

import itertools

import numpy as np
from numpy.typing import ArrayLike

from lenspipe.utils.errors import LenspipeError

__all__ = ["band_difference", "residual_images"]

# Images processed at a time: ~50 MB of memory at 101 pixels and three bands.
_BATCH = 128
# Weighted moments: initial sigma of the weight and its bounds, pixels; number of iterations.
_SIGMA, _MIN_SIGMA, _MAX_SIGMA, _N_ITERATIONS = 3.0, 1.5, 8.0, 12
# Maximum offset of the central galaxy from the cutout's centre, pixels.
_MAX_OFFSET = 1.5
_MIN_AXIS_RATIO = 0.2
# Radius of the disc in which the galaxy vanishes in the difference of two bands, pixels.
_DISC_RADIUS = 4.0


def residual_images(images: ArrayLike, shapes: ArrayLike | None = None) -> np.ndarray:
    """Subtract a smooth elliptical model of the central galaxy in each band.

    The model is the median in elliptical annuli about the galaxy's centre, constrained to decrease
    outwards, so that a full ring that is brighter than the light inside it remains in the residual.
    All bands share one centre and one ellipse, the same at all radii (cf. the isophotes of
    Jedrzejewski 1987, MNRAS 226, 747). The centre, and the ellipse where none is given, are
    adaptive moments with an elliptical Gaussian weight (Bernstein & Jarvis 2002, AJ 123, 583).

    Parameters
    ----------
    images
        Nanomaggies, (N, B, S, S), row 0 in the south and column 0 in the east; NaN where there is
        no data.
    shapes
        Tractor's ``shape_e1``, ``shape_e2``, (N, 2): (a - b) / (a + b) times cos and sin of twice
        the position angle, North through East. Measured on the image where a row is not finite.

    Returns
    -------
    float32 array, shape (N, B, S, S)
        Nanomaggies; NaN where the image is not finite.

    Raises
    ------
    LenspipeError
        Arrays of other shapes.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise LenspipeError(
            f"residual images: found an array of shape {images.shape}, expected (N, B, S, S)"
        )
    if shapes is None:
        shapes = np.full((len(images), 2), np.nan)
    shapes = np.asarray(shapes, np.float64)
    if shapes.shape != (len(images), 2):
        raise LenspipeError(
            f"residual images: found shapes of shape {shapes.shape}, expected ({len(images)}, 2), "
            "shape_e1 and shape_e2 of each"
        )
    result = np.empty_like(images)
    for first in range(0, len(images), _BATCH):
        part = slice(first, first + _BATCH)
        result[part] = _subtract(images[part], shapes[part])
    return result


def band_difference(image: ArrayLike, blue: int = 0, red: int = -1) -> np.ndarray:
    """Subtract a red band from a blue one, scaled so that the central galaxy vanishes.

    No model of the galaxy's shape is needed: light of its colour vanishes whatever its form, bluer
    light such as arcs and rings remains, and redder light is negative (Gavazzi et al. 2014, ApJ
    785, 144, section 3). The scale is the ratio of the fluxes within 4 pixels of the centre, and 0
    without flux in the red band. The images are not brought to a common seeing.

    Parameters
    ----------
    image
        Nanomaggies, (B, S, S); NaN where there is no data.
    blue, red
        The two bands.

    Returns
    -------
    float32 array, shape (S, S)
        Nanomaggies of the blue band.
    """
    image = np.asarray(image, np.float32)
    row, column = np.indices(image.shape[1:]) - (image.shape[1] - 1) / 2
    pair = image[[blue, red]]
    inside = (np.hypot(row, column) <= _DISC_RADIUS) & np.isfinite(pair).all(axis=0)
    in_blue, in_red = pair[:, inside].sum(axis=1, dtype=np.float64)
    scale = max(0.0, in_blue / in_red) if in_red > 0 else 0.0
    return pair[0] - np.float32(scale) * pair[1]


def _subtract(images: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    n, bands, size, _ = images.shape
    finite = np.isfinite(images)
    centre, measured = _moments(np.where(finite, images, 0))
    given = np.isfinite(shapes).all(axis=1)
    axis_ratio, angle = _ellipse(np.where(given[:, None], shapes, measured))
    radius = _radii(centre, axis_ratio, angle, size).reshape(n, -1)
    order = np.argsort(radius, axis=1)
    pixels = np.where(finite, images, np.nan).reshape(n, bands, -1)
    inside_out = np.take_along_axis(pixels, order[:, None], axis=2)
    sorted_radius = np.take_along_axis(radius, order, axis=1)
    edges = _edges(size)
    groups = list(itertools.pairwise(edges))
    knots = np.stack([sorted_radius[:, low:high].mean(axis=1) for low, high in groups], axis=-1)
    profile = np.stack([_median(inside_out[..., low:high]) for low, high in groups], axis=-1)
    profile = _decreasing(profile)
    model = np.empty_like(pixels)
    for i in range(n):
        for band in range(bands):
            model[i, band] = np.interp(radius[i], knots[i], profile[i, band])
    return (pixels - model).reshape(images.shape)


def _edges(size: int) -> list[int]:
    """First pixel of each annulus when pixels are sorted by elliptical radius; last, their number.

    The radius is that of the circle of the same area, so annuli hold the same numbers of pixels
    in all images: a pixel wide at the centre, a tenth of their radius further out.
    """
    radius, edges = 0.6, [0]
    while np.pi * radius**2 < size**2:
        edges.append(int(np.pi * radius**2))
        radius += max(1, radius / 10)
    return [*dict.fromkeys(edges), size**2]


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis, ignoring NaNs; infinite where all are NaN."""
    values = np.sort(values, axis=-1)  # NaNs last
    number = np.isfinite(values).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(values, np.maximum(number - k, 0) // 2, axis=-1) for k in (0, 1)]
    return np.where(number > 0, (middle[0] + middle[1]) / 2, np.inf)[..., 0]


def _decreasing(profile: np.ndarray) -> np.ndarray:
    """Limit a profile to its values further in; fill where there is no value."""
    profile = np.minimum.accumulate(profile, axis=-1)
    first = np.argmax(np.isfinite(profile), axis=-1)
    known = np.take_along_axis(profile, first[..., None], axis=-1)
    filled = np.where(np.isfinite(profile), profile, known)
    return np.where(np.isfinite(filled), filled, 0)


def _radii(centre: np.ndarray, axis_ratio: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Elliptical radius of each pixel, (N, S, S)."""
    north, west = np.indices((size, size), np.float32)
    north = north - centre[:, 1, None, None]
    east = centre[:, 0, None, None] - west
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    along, across = east * sine + north * cosine, east * cosine - north * sine
    ratio = axis_ratio[:, None, None]
    return np.sqrt(along**2 * ratio + across**2 / ratio).astype(np.float32)


def _ellipse(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axis ratio and position angle in radians, North through East."""
    e = np.hypot(shapes[:, 0], shapes[:, 1])
    ratio = np.clip((1 - e) / (1 + e), _MIN_AXIS_RATIO, 1.0)
    return ratio, np.arctan2(shapes[:, 1], shapes[:, 0]) / 2


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (column, row) and ellipticity of the flux in all bands, (N, 2) each."""
    n, _, size, _ = images.shape
    middle = size // 2
    reach = min(middle, 15)
    part = slice(middle - reach, middle + reach + 1)
    stamp = images[:, :, part, part].astype(np.float64)
    # Lens galaxies are red and arcs blue: summed in flux, the bands of the lens galaxy dominate.
    light = stamp.sum(axis=1)
    y, x = np.indices(light.shape[1:]) - float(reach)
    centre, covariance = np.zeros((n, 2)), np.tile(_SIGMA**2 * np.eye(2), (n, 1, 1))
    for _ in range(_N_ITERATIONS):
        dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
        (a, b), (_, c) = np.linalg.inv(covariance).transpose(1, 2, 0)[..., None, None]
        weighted = light * np.exp(-(a * dx**2 + 2 * b * dx * dy + c * dy**2) / 2)
        flux = weighted.sum(axis=(1, 2))
        flux = np.where(flux > 0, flux, np.inf)
        mean = np.stack([(weighted * d).sum(axis=(1, 2)) / flux for d in (dx, dy)], axis=1)
        centre = np.clip(centre + mean, -_MAX_OFFSET, _MAX_OFFSET)
        xx, xy, yy = ((weighted * d).sum(axis=(1, 2)) / flux for d in (dx**2, dx * dy, dy**2))
        # A Gaussian weighted by itself has half its covariance.
        moment = 2 * np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1)
        size2, axes = np.linalg.eigh(moment)
        size2 = np.clip(size2, _MIN_SIGMA**2, _MAX_SIGMA**2)
        covariance = axes * size2[:, None] @ axes.transpose(0, 2, 1)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    # |e| = (a - b) / (a + b) from (a^2 - b^2) / (a^2 + b^2); columns increase to the west.
    norm = xx + yy + 2 * np.sqrt(np.maximum(xx * yy - xy**2, 0))
    return centre + middle, np.stack([yy - xx, -2 * xy], axis=1) / norm[:, None]
