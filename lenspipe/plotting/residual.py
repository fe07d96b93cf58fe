"""What is left of galaxies when a smooth elliptical model is subtracted: arcs, companions, arms."""

import itertools

import numpy as np

from lenspipe.utils.errors import LenspipeError

__all__ = ["residual_images"]

# Images at a time: ~50 MB of scratch at 101 pixels and three bands.
_BATCH = 128

# Weighted moments: first guess of the weight's sigma, pixels; its bounds; how often it is fitted.
_SIGMA, _LEAST, _MOST, _STEPS = 3.0, 1.5, 8.0, 12

# Galaxies further than this from the middle of their cutout are not what it was cut for, pixels.
_OFF_CENTRE = 1.5

_ROUNDEST, _FLATTEST = 1.0, 0.2


def residual_images(images, shapes=None):
    """Subtract a smooth elliptical model of the central galaxy in each band.

    The model is the median in elliptical annuli about the galaxy's centre, kept from rising
    outwards, so that of a full ring what outshines the light inside is left over, too. All
    bands share centre and ellipse, which are fixed with radius, as in the isophotes of Jedrzejewski
    (1987, MNRAS 226, 747). The centre, and the ellipse where none is given, come from moments with
    an elliptical Gaussian weight that is fitted to them (Bernstein & Jarvis 2002, AJ 123, 583).

    Parameters
    ----------
    images : array_like, shape (N, B, S, S)
        Nanomaggies, row 0 in the south and column 0 in the east; NaN where there is no data.
    shapes : array_like, shape (N, 2), optional
        Tractor's ``shape_e1``, ``shape_e2``: (a - b) / (a + b) times cos and sin of twice the
        position angle, North through East. A row that is not finite is as if not given.

    Returns
    -------
    numpy.ndarray, float32, shape (N, B, S, S)
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


def _subtract(images, shapes):
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
    profile = _never_rising(profile)
    model = np.empty_like(pixels)
    for i in range(n):
        for band in range(bands):
            model[i, band] = np.interp(radius[i], knots[i], profile[i, band])
    return (pixels - model).reshape(images.shape)


def _edges(size):
    """First pixel of each annulus when pixels are sorted by elliptical radius, and their number.

    The radius is that of the circle of the same area, so annuli hold the same numbers of pixels
    in all images: a pixel wide at the centre, a tenth of their radius further out.
    """
    radius, edges = 0.6, [0]
    while np.pi * radius**2 < size**2:
        edges.append(int(np.pi * radius**2))
        radius += max(1, radius / 10)
    return [*dict.fromkeys(edges), size**2]


def _median(values):
    """Median over the last axis without NaNs; infinite where all are NaN."""
    values = np.sort(values, axis=-1)  # NaNs last
    number = np.isfinite(values).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(values, np.maximum(number - k, 0) // 2, axis=-1) for k in (0, 1)]
    return np.where(number > 0, (middle[0] + middle[1]) / 2, np.inf)[..., 0]


def _never_rising(profile):
    """Bound a profile by its values further in; fill what has none."""
    profile = np.minimum.accumulate(profile, axis=-1)
    first = np.argmax(np.isfinite(profile), axis=-1)
    known = np.take_along_axis(profile, first[..., None], axis=-1)
    filled = np.where(np.isfinite(profile), profile, known)
    return np.where(np.isfinite(filled), filled, 0)


def _radii(centre, axis_ratio, angle, size):
    """Elliptical radius of each pixel, (N, S, S)."""
    north, west = np.indices((size, size), np.float32)
    north = north - centre[:, 1, None, None]
    east = centre[:, 0, None, None] - west
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    along, across = east * sine + north * cosine, east * cosine - north * sine
    ratio = axis_ratio[:, None, None]
    return np.sqrt(along**2 * ratio + across**2 / ratio).astype(np.float32)


def _ellipse(shapes):
    """Axis ratio and position angle in radians, North through East."""
    e = np.hypot(shapes[:, 0], shapes[:, 1])
    ratio = np.clip((1 - e) / (1 + e), _FLATTEST, _ROUNDEST)
    return ratio, np.arctan2(shapes[:, 1], shapes[:, 0]) / 2


def _moments(images):
    """Centre (column, row) and ellipticity of the flux in all bands, (N, 2) each."""
    n, _, size, _ = images.shape
    middle = size // 2
    reach = min(middle, 15)
    part = slice(middle - reach, middle + reach + 1)
    stamp = images[:, :, part, part].astype(np.float64)
    # A lens is red and its arcs are blue: in flux the bands that show the lens count most.
    light = stamp.sum(axis=1)
    y, x = np.indices(light.shape[1:]) - float(reach)
    centre, covariance = np.zeros((n, 2)), np.tile(_SIGMA**2 * np.eye(2), (n, 1, 1))
    for _ in range(_STEPS):
        dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
        (a, b), (_, c) = np.linalg.inv(covariance).transpose(1, 2, 0)[..., None, None]
        weighted = light * np.exp(-(a * dx**2 + 2 * b * dx * dy + c * dy**2) / 2)
        flux = weighted.sum(axis=(1, 2))
        flux = np.where(flux > 0, flux, np.inf)
        mean = np.stack([(weighted * d).sum(axis=(1, 2)) / flux for d in (dx, dy)], axis=1)
        centre = np.clip(centre + mean, -_OFF_CENTRE, _OFF_CENTRE)
        xx, xy, yy = ((weighted * d).sum(axis=(1, 2)) / flux for d in (dx**2, dx * dy, dy**2))
        # A Gaussian seen through a weight of its own shape has half its covariance.
        moment = 2 * np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1)
        size2, axes = np.linalg.eigh(moment)
        size2 = np.clip(size2, _LEAST**2, _MOST**2)
        covariance = axes * size2[:, None] @ axes.transpose(0, 2, 1)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    # |e| = (a - b) / (a + b) from (a^2 - b^2) / (a^2 + b^2); columns run to the west.
    norm = xx + yy + 2 * np.sqrt(np.maximum(xx * yy - xy**2, 0))
    return centre + middle, np.stack([yy - xx, -2 * xy], axis=1) / norm[:, None]
