"""Imperfections of the images of the simulated sky: each function adds one, in place.

Those of single exposures are placed on the detector of the exposure, so that neighbouring bricks
agree. A coadd of three exposures and more rejects what only one of them has.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from lenspipe.simulation.exposures import DETECTOR_DEG, Exposures, StampConditions
from lenspipe.simulation.psf import Psf
from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC

__all__ = [
    "BRIGHT_FLUX",
    "GHOST_FLUX",
    "SATURATION",
    "add_bad_columns",
    "add_bright_star",
    "add_cosmic_rays",
    "add_ghosts",
    "add_sky_residuals",
    "add_stamp_artefacts",
    "add_trails",
]

#: Flux per pixel above which a detector saturates, nanomaggies.
SATURATION = 20.0

#: Flux of a star above which it is drawn by `add_bright_star`, nanomaggies (magnitude 16.3).
BRIGHT_FLUX = 300.0

#: Surface brightness of the halo of a star of unit flux: this, per square arcsec, over the square
#: of the radius in arcsec; beyond the second number, arcsec, over its fourth power, as the survey
#: subtracts the outer halos of bright stars.
HALO = 4e-4
HALO_REACH_ARCSEC = 60.0

#: The same of the diffraction spikes along their axis; their width, arcsec; their angles, degrees:
#: the vanes of the two kinds of telescopes.
SPIKE = 1.2e-3
SPIKE_WIDTH_ARCSEC = 0.45
SPIKE_DEG = {"south": (45.0, 135.0), "north": (0.0, 90.0)}

#: Surface brightness at which halos and spikes are cut off, nanomaggies per pixel, and their
#: largest reach, pixels.
_FAINTEST = 1e-3
_MAX_REACH = 3600

#: Half the length of a bleed trail is this number of pixels times the ratio of the star's flux to
#: this flux in nanomaggies to this power; its half width, with the smaller power.
_BLEED = (7.0, 600.0, 0.5, 0.22)

#: Flux of the faintest stars with ghosts, nanomaggies (magnitude 9.5); flux of the ghost over that
#: of the star; range of its radii, pixels.
GHOST_FLUX = 160000.0
GHOST_FRACTION = 2e-4
_GHOST_RADII = (250.0, 500.0)

#: Satellite trails per exposure of a detector; range of their peak over the exposure's noise; sigma
#: of their profile, pixels.
TRAIL_RATE = 0.08
_TRAIL_PEAK = (3.0, 40.0)
_TRAIL_SIGMA = (1.5, 3.5)

#: Cosmic rays per exposure of a detector that the detection missed.
COSMIC_RAY_RATE = 60.0

#: Bad columns per exposure of a detector.
BAD_COLUMN_RATE = 1.5

#: Largest number of exposures that don't reject what one of them has alone.
_NOT_REJECTED = 2

#: Fraction of the stamps with artefacts.
STAMP_FRACTION = 0.03

#: Size of a detector, pixels of the coadd.
_DETECTOR = tuple(3600 * side / PIXEL_SCALE_ARCSEC for side in DETECTOR_DEG)


def add_bright_star(
    images: Sequence[np.ndarray],
    saturated: Sequence[np.ndarray],
    x: float,
    y: float,
    fluxes: Sequence[float] | np.ndarray,
    psfs: Sequence[Psf],
    region: str,
    rng: np.random.Generator,
) -> None:
    """Add a star with the halo and spikes of its brightness; where it saturates, a bleed trail.

    Charge bleeds along the detector's columns, which DECam has along RA and the northern cameras
    along Dec.

    Parameters
    ----------
    images
        Per band, nanomaggies per pixel, without noise.
    saturated
        Per band, mask of saturated pixels: bleed trails are added to it.
    x, y
        Position in pixels, which may lie outside.
    fluxes
        Per band, nanomaggies.
    rng
        For the lengths of bleed trails: one for each star.
    """
    lengths = np.exp(0.3 * rng.standard_normal(len(fluxes)))
    for image, mask, flux, psf, length in zip(
        images, saturated, fluxes, psfs, lengths, strict=True
    ):
        core = _window(image, x, y, 60)
        if core:
            rows, columns, dx, dy = core
            light = flux * PIXEL_SCALE_ARCSEC**2 * psf.profile(dx[None, :], dy[:, None])
            image[rows, columns] += light.astype(np.float32)
        faintest = _FAINTEST / PIXEL_SCALE_ARCSEC**2
        # Where the spikes, the brightest part, are as faint as that.
        ratio = flux * SPIKE / faintest / HALO_REACH_ARCSEC**2
        reach = HALO_REACH_ARCSEC / PIXEL_SCALE_ARCSEC * np.sqrt(np.sqrt(0.25 + ratio) - 0.5)
        wings = _window(image, x, y, int(min(reach, _MAX_REACH)) + 1)
        if wings:
            rows, columns, dx, dy = wings
            image[rows, columns] += _wings(flux, dx, dy, SPIKE_DEG[region], faintest)
        if flux > _BLEED[1]:
            _add_bleed(mask, x, y, flux / _BLEED[1], length, along_x=region == "south")


def _wings(
    flux: float, dx: np.ndarray, dy: np.ndarray, angles: Sequence[float], faintest: float
) -> np.ndarray:
    """Halo and spikes of a star, nanomaggies per pixel."""
    dx, dy = dx.astype(np.float32)[None, :], dy.astype(np.float32)[:, None]
    square = dx**2 + dy**2
    light = np.float32(flux) / (square + np.float32(4.0))
    spikes = np.zeros_like(light)
    for angle in np.radians(angles):
        across = np.float32(np.cos(angle)) * dy - np.float32(np.sin(angle)) * dx
        np.maximum(
            spikes, np.exp(-0.5 * (across / np.float32(SPIKE_WIDTH_ARCSEC)) ** 2), out=spikes
        )
    light *= np.float32(HALO) + np.float32(SPIKE) * spikes
    light /= 1 + square / np.float32(HALO_REACH_ARCSEC**2)
    # Down to zero at the edge, where it would otherwise end in a step.
    return np.maximum(light - np.float32(0.3 * faintest), 0) * np.float32(PIXEL_SCALE_ARCSEC**2)


def _add_bleed(
    mask: np.ndarray, x: float, y: float, ratio: float, length: float, along_x: bool
) -> None:
    """Mark the pixels of a bleed trail, which tapers towards its ends."""
    half = length * _BLEED[0] * ratio ** _BLEED[2]
    width = 0.6 * ratio ** _BLEED[3]
    mask, centre, across = (mask, x, y) if along_x else (mask.T, y, x)
    begin, end = (int(np.clip(v, 0, mask.shape[1])) for v in (centre - half, centre + half + 1))
    along = np.abs(np.arange(begin, end) - centre) / half
    for row in range(int(across - width - 1), int(across + width + 2)):
        if 0 <= row < mask.shape[0]:
            mask[row, begin:end] |= np.abs(row - across) <= width * np.sqrt((1 - along).clip(0))


def _window(
    image: np.ndarray, x: float, y: float, half: int
) -> tuple[slice, slice, np.ndarray, np.ndarray] | None:
    """Part of an image around a position, and the distances of its pixels, arcsec."""
    column, row = round(x), round(y)
    rows = slice(max(row - half, 0), min(row + half + 1, image.shape[0]))
    columns = slice(max(column - half, 0), min(column + half + 1, image.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    dx = (np.arange(columns.start, columns.stop) - x) * PIXEL_SCALE_ARCSEC
    dy = (np.arange(rows.start, rows.stop) - y) * PIXEL_SCALE_ARCSEC
    return rows, columns, dx, dy


def add_ghosts(
    images: Sequence[np.ndarray],
    x: float,
    y: float,
    fluxes: Sequence[float],
    rng: np.random.Generator,
) -> None:
    """Add the reflections of a very bright star: rings far out of focus, one in each band.

    Parameters
    ----------
    rng
        For place and size of the ghosts: one for each star.
    """
    for image, flux in zip(images, fluxes, strict=True):
        radius = rng.uniform(*_GHOST_RADII)
        offset = rng.normal(0, 400, 2)
        if flux < GHOST_FLUX:
            continue
        window = _window(image, x + offset[0], y + offset[1], int(radius) + 1)
        if not window:
            continue
        rows, columns, dx, dy = window
        r = np.hypot(dx[None, :], dy[:, None]) / (radius * PIXEL_SCALE_ARCSEC)
        # The secondary mirror leaves a hole in the middle.
        ring = np.clip((1 - r) / 0.04, 0, 1) * np.clip((r - 0.3) / 0.04, 0, 1)
        image[rows, columns] += (GHOST_FRACTION * flux / (0.91 * np.pi * radius**2) * ring).astype(
            np.float32
        )


def add_sky_residuals(image: np.ndarray, exposures: Exposures) -> None:
    """Add the sky that the pipeline left in each exposure: a level and slopes per detector."""
    step = 12
    total = np.zeros((BRICK_PIXELS // step, BRICK_PIXELS // step), np.float32)
    weights = np.zeros_like(total)
    axis = ((np.arange(BRICK_PIXELS // step) + 0.5) * step / BRICK_PIXELS).astype(np.float32)
    for x0, x1, y0, y1, sigma, offset in zip(
        exposures.x0, exposures.x1, exposures.y0, exposures.y1, exposures.sigma,
        exposures.offset.astype(np.float32), strict=True,
    ):  # fmt: skip
        rows, columns = slice(-(-y0 // step), -(-y1 // step)), slice(-(-x0 // step), -(-x1 // step))
        sky = offset[0] + offset[1] * axis[None, columns] + offset[2] * axis[rows, None]
        total[rows, columns] += np.float32(sigma**-2) * sky
        weights[rows, columns] += np.float32(sigma**-2)
    sky = np.divide(total, weights, out=total, where=weights > 0)
    image += np.repeat(np.repeat(sky, step, axis=0), step, axis=1)


def _not_rejected(
    exposures: Exposures, number: np.ndarray, stream: int
) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield the exposures that are not rejected everywhere, each with a generator of its own."""
    few = (number[::20, ::20] > 0) & (number[::20, ::20] <= _NOT_REJECTED)
    for i, seed in enumerate(exposures.seeds):
        rows = slice(exposures.y0[i] // 20, exposures.y1[i] // 20 + 1)
        if few[rows, exposures.x0[i] // 20 : exposures.x1[i] // 20 + 1].any():
            yield i, np.random.default_rng([*seed, stream])


def _share(exposures: Exposures, i: int, number: np.ndarray, invvar: np.ndarray) -> np.ndarray:
    """Weight of an exposure in pixels of the coadd; 0 where others reject what it has alone."""
    alone = (number > 0) & (number <= _NOT_REJECTED)
    return np.divide(
        np.float32(exposures.sigma[i] ** -2), invvar, out=np.zeros_like(invvar), where=alone
    )


def add_trails(
    image: np.ndarray, exposures: Exposures, number: np.ndarray, invvar: np.ndarray
) -> None:
    """Add satellite trails, where too few exposures cover a position to reject them."""
    for i, rng in _not_rejected(exposures, number, 31):
        for _ in range(rng.poisson(TRAIL_RATE)):
            centre = exposures.corner[i] + rng.random(2) * _DETECTOR
            angle, width = rng.uniform(0, np.pi), rng.uniform(*_TRAIL_SIGMA)
            low, high = np.log(_TRAIL_PEAK)
            peak = exposures.sigma[i] * np.exp(rng.uniform(low, high))
            box = (exposures.x0[i], exposures.x1[i], exposures.y0[i], exposures.y1[i])
            rows, columns, light = _trail(box, centre, angle, width)
            share = _share(exposures, i, number[rows, columns], invvar[rows, columns])
            image[rows, columns] += np.float32(peak) * share * light


def _trail(
    box: tuple[int, int, int, int], centre: np.ndarray, angle: float, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and relative brightness of the pixels of a straight trail within a box."""
    x0, x1, y0, y1 = box
    steep = abs(np.sin(angle)) > abs(np.cos(angle))
    # Along the axis on which the trail has one centre per pixel.
    along = np.arange(y0, y1) if steep else np.arange(x0, x1)
    slope = 1 / np.tan(angle) if steep else np.tan(angle)
    start, across = (centre[1], centre[0]) if steep else (centre[0], centre[1])
    middle = across + slope * (along - start)
    shrink = 1 / np.sqrt(1 + slope**2)
    reach = int(np.ceil(3.5 * width / shrink))
    other = np.round(middle).astype(int)[:, None] + np.arange(-reach, reach + 1)
    distance = (other - middle[:, None]) * shrink
    light = np.exp(-0.5 * (distance / width) ** 2).astype(np.float32)
    low, high = (x0, x1) if steep else (y0, y1)
    inside = (other >= low) & (other < high)
    along = np.broadcast_to(along[:, None], other.shape)[inside]
    rows, columns = (along, other[inside]) if steep else (other[inside], along)
    return rows, columns, light[inside]


def add_cosmic_rays(
    image: np.ndarray, exposures: Exposures, number: np.ndarray, invvar: np.ndarray
) -> None:
    """Add cosmic rays, where too few exposures cover a position to reject them."""
    for i, rng in _not_rejected(exposures, number, 32):
        for _ in range(rng.poisson(COSMIC_RAY_RATE)):
            begin = exposures.corner[i] + rng.random(2) * _DETECTOR
            x, y, value = _cosmic_ray(rng, begin)
            inside = (x >= exposures.x0[i]) & (x < exposures.x1[i])
            inside &= (y >= exposures.y0[i]) & (y < exposures.y1[i])
            if inside.any():
                x, y = x[inside], y[inside]
                share = _share(exposures, i, number[y, x], invvar[y, x])
                image[y, x] += np.float32(value * exposures.sigma[i]) * share


def _cosmic_ray(
    rng: np.random.Generator, begin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pixels of a cosmic ray, and its charge per pixel over the noise of the exposure."""
    length, angle = 1 + rng.exponential(4.0), rng.uniform(0, 2 * np.pi)
    steps = np.arange(0, length, 0.5)
    path = np.round(begin + steps[:, None] * [np.cos(angle), np.sin(angle)]).astype(int)
    x, y = np.unique(path, axis=0).T
    return x, y, float(np.exp(rng.uniform(np.log(8), np.log(150))))


def add_bad_columns(exposures: Exposures, number: np.ndarray, invvar: np.ndarray) -> None:
    """Take bad columns of each exposure out of the count and the inverse variance."""
    for i, seed in enumerate(exposures.seeds):
        rng = np.random.default_rng([*seed, 33])
        bad = np.zeros((0, 4))
        for _ in range(rng.poisson(BAD_COLUMN_RATE)):
            start = exposures.corner[i] + rng.random(2) * _DETECTOR
            size = np.array([rng.exponential(400), rng.integers(1, 3)])
            # Along the detector's columns, as in `add_bright_star`.
            end = start + (size if exposures.region == "south" else size[::-1])
            if ((start < bad[:, 2:]) & (end > bad[:, :2])).all(axis=1).any():
                continue
            bad = np.vstack([bad, [*start, *end]])
            x0, x1 = np.ceil([start[0], end[0]]).clip(exposures.x0[i], exposures.x1[i]).astype(int)
            y0, y1 = np.ceil([start[1], end[1]]).clip(exposures.y0[i], exposures.y1[i]).astype(int)
            left, weight = number[y0:y1, x0:x1], invvar[y0:y1, x0:x1]
            left -= 1
            weight -= np.float32(exposures.sigma[i] ** -2)
            # Exactly 0, whatever the rounding.
            weight[left == 0] = 0


def add_stamp_artefacts(
    rng: np.random.Generator,
    images: np.ndarray,
    conditions: StampConditions,
    effects: Collection[str],
) -> str | None:
    """Add one artefact to `STAMP_FRACTION` of stamps: its effect is returned, if any.

    Parameters
    ----------
    images
        (B, S, S), nanomaggies per pixel, with noise; changed in place.
    effects
        Of config key ``simulation.effects``.
    """
    if rng.random() >= STAMP_FRACTION:
        return None
    possible = [effect for effect in _STAMP_ARTEFACTS if effect in effects]
    if not possible:
        return None
    effect = possible[rng.integers(len(possible))]
    _STAMP_ARTEFACTS[effect](rng, images, conditions)
    return effect


def _stamp_trail(rng: np.random.Generator, images: np.ndarray, conditions: StampConditions) -> None:
    band, side = rng.integers(len(images)), images.shape[-1]
    centre, angle = side * rng.uniform(0.1, 0.9, 2), rng.uniform(0, np.pi)
    rows, columns, light = _trail((0, side, 0, side), centre, angle, rng.uniform(*_TRAIL_SIGMA))
    images[band, rows, columns] += np.float32(conditions.sigma[band] * rng.uniform(2, 20)) * light


def _stamp_cosmic_rays(
    rng: np.random.Generator, images: np.ndarray, conditions: StampConditions
) -> None:
    band, side = rng.integers(len(images)), images.shape[-1]
    for _ in range(rng.integers(1, 5)):
        x, y, value = _cosmic_ray(rng, rng.uniform(0, side, 2))
        inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        images[band, y[inside], x[inside]] += np.float32(0.7 * value * conditions.sigma[band])


def _stamp_bad_columns(
    rng: np.random.Generator, images: np.ndarray, conditions: StampConditions
) -> None:
    image = images[rng.integers(len(images))]
    begin, width = rng.integers(image.shape[0]), rng.integers(1, 13)
    if conditions.region == "south":
        image[begin : begin + width] = 0
    else:
        image[:, begin : begin + width] = 0


def _stamp_missing_band(
    rng: np.random.Generator, images: np.ndarray, conditions: StampConditions
) -> None:
    """One band without data, on the whole stamp or beyond the edge of a detector."""
    image = images[rng.integers(len(images))]
    if rng.random() < 0.3:
        image[:] = 0
        return
    part = image if rng.random() < 0.5 else image.T
    edge = rng.integers(5, len(part) - 5)
    part[slice(edge) if rng.random() < 0.5 else slice(edge, None)] = 0


def _stamp_sky(rng: np.random.Generator, images: np.ndarray, conditions: StampConditions) -> None:
    """A background that slopes, in one band or in all."""
    axis = np.linspace(-1, 1, images.shape[-1], dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(angle)) * axis + np.float32(np.sin(angle)) * axis[:, None]
    bands = range(len(images)) if rng.random() < 0.5 else [rng.integers(len(images))]
    for band in bands:
        images[band] += np.float32(conditions.sigma[band] * rng.uniform(0.3, 1.5)) * slope


def _stamp_star(rng: np.random.Generator, images: np.ndarray, conditions: StampConditions) -> None:
    """A bright star at the edge of the stamp or beyond it."""
    side = images.shape[-1]
    angle, radius = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.45, 0.9)
    centre = side / 2 + radius * np.array([np.cos(angle), np.sin(angle)])
    flux_r = 10 ** rng.uniform(3.0, 5.0)
    fluxes = flux_r * 10 ** (-0.4 * np.array([rng.uniform(0.3, 1.5), 0, -rng.uniform(0.2, 0.8)]))
    mask = np.zeros(images.shape, bool)
    light = np.zeros_like(images)
    add_bright_star(
        list(light), list(mask), centre[0], centre[1], fluxes, conditions.psfs, conditions.region,
        rng,
    )  # fmt: skip
    images += light
    images[mask | (images > SATURATION)] = SATURATION


def _stamp_ghost(rng: np.random.Generator, images: np.ndarray, conditions: StampConditions) -> None:
    """The edge of a ghost in one band."""
    band, side = rng.integers(len(images)), images.shape[-1]
    radius, angle = rng.uniform(*_GHOST_RADII), rng.uniform(0, 2 * np.pi)
    distance = radius + side * rng.uniform(-0.4, 0.4)
    axis = np.arange(side) - (side - 1) / 2
    r = np.hypot(axis - distance * np.cos(angle), axis[:, None] - distance * np.sin(angle))
    step = np.clip((radius - r) / (0.04 * radius), 0, 1).astype(np.float32)
    images[band] += np.float32(conditions.sigma[band] * rng.uniform(0.5, 2.0)) * step


#: Artefacts of stamps, by their effect.
_STAMP_ARTEFACTS: dict[str, Callable[[np.random.Generator, np.ndarray, StampConditions], None]] = {
    "trails": _stamp_trail,
    "cosmic_rays": _stamp_cosmic_rays,
    "bad_columns": _stamp_bad_columns,
    "missing_bands": _stamp_missing_band,
    "sky_residuals": _stamp_sky,
    "bright_stars": _stamp_star,
    "ghosts": _stamp_ghost,
}
