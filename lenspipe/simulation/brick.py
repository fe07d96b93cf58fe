"""The light of a brick without noise: its population and its neighbours', painted and observed."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.data import Simulation
from lenspipe.simulation.exposures import BANDS, TILE_PIXELS, Exposures
from lenspipe.simulation.lenses import Lens, is_visible
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.simulation.painting import Light
from lenspipe.simulation.population import draw_population
from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC, RELEASE
from lenspipe.survey.bricks import brick_wcs

__all__ = ["Arcs", "Patch", "add_arcs", "gather", "paint"]

#: Pixels around a tile of which the light is seen through the PSF, and around a brick.
MARGIN = 45

#: Minimum r flux of stars (nanomaggies), and the distance from the edge of a brick at which they
#: still shine onto it, pixels; that of all other sources.
_REACH, _OTHERS_REACH = {3e5: 3600, 1e3: 1200}, 150

#: Fraction of the lenses with arcs that are not visible that stay on the sky.
HIDDEN_FRACTION = 0.1

#: Numbers of the sources of a brick and of its neighbours begin at multiples of this by brickid.
_NUMBERS = 10**5


@dataclass(frozen=True)
class Patch:
    """What is on a brick's image: sources with positions bx, by, components with x, y, lenses."""

    sources: pd.DataFrame
    components: pd.DataFrame
    lenses: dict[int, Lens]


@dataclass(frozen=True)
class Arcs:
    """Arcs of a lens as seen on a brick, without noise."""

    #: (B, s, s) nanomaggies per pixel.
    images: np.ndarray
    #: Column and row of the first pixel, which may lie outside the brick.
    left: int
    bottom: int
    magnification: float
    #: FWHM of the PSF in g.
    seeing_arcsec: float
    #: Whether a person would see them, and their signal to noise where they show.
    visible: bool = False
    shown_snr: float = 0.0

    def on_brick(self) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the brick, and of the images, that are on both."""
        side = self.images.shape[-1]
        y0, y1 = max(self.bottom, 0), min(self.bottom + side, BRICK_PIXELS)
        x0, x1 = max(self.left, 0), min(self.left + side, BRICK_PIXELS)
        y1, x1 = max(y0, y1), max(x0, x1)
        rows, columns = slice(y0, y1), slice(x0, x1)
        own = slice(y0 - self.bottom, y1 - self.bottom), slice(x0 - self.left, x1 - self.left)
        return rows, columns, *own


@functools.lru_cache(32)
def _population(
    seed: int, brick: tuple[tuple[str, Any], ...], simulation: Simulation
) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, Lens]]:
    """Sources of a brick, cached because each brick is also a neighbour of its neighbours."""
    return draw_population(seed, dict(brick), simulation)


def gather(
    seed: int,
    simulation: Simulation,
    brick: Mapping[str, Any],
    around: Sequence[Mapping[str, Any]],
) -> Patch:
    """Collect the sources on a brick's image: its own, and those of its neighbours near the edge.

    Parameters
    ----------
    brick
        ``brickname``, ``ra``, ``dec`` (degrees).
    around
        The brick and its neighbours, as `draw_population` needs them.
    """
    wcs = brick_wcs(brick["ra"], brick["dec"], RELEASE)
    all_sources, all_components = [], []
    lenses: dict[int, Lens] = {}
    for neighbour in around:
        sources, components, of_brick = _population(seed, tuple(neighbour.items()), simulation)
        sources, components = sources.copy(), components.copy()
        offset = _NUMBERS * neighbour["brickid"]
        sources["number"] += offset
        components["number"] += offset
        sources["bx"], sources["by"] = wcs.all_world2pix(sources["ra"], sources["dec"], 0)
        components["x"], components["y"] = wcs.all_world2pix(components["ra"], components["dec"], 0)
        sources["primary"] = neighbour["brickname"] == brick["brickname"]
        flux = components["flux_r"].where(components["profile"] == "psf", 0)
        reach = np.select([flux > least for least in _REACH], list(_REACH.values()), _OTHERS_REACH)
        reach = reach + BRICK_PIXELS / 2
        near = np.abs(components[["x", "y"]] - BRICK_PIXELS / 2).max(axis=1) < reach
        all_components.append(components[near])
        all_sources.append(sources[sources["number"].isin(components["number"][near])])
        lenses |= {number + offset: lens for number, lens in of_brick.items()}
    sources = pd.concat(all_sources, ignore_index=True)
    listed = set(sources["number"])
    return Patch(
        sources,
        pd.concat(all_components, ignore_index=True),
        {number: lens for number, lens in lenses.items() if number in listed},
    )


def paint(components: pd.DataFrame, exposures: Mapping[str, Exposures]) -> dict[str, np.ndarray]:
    """Image of the components by band, float32 nanomaggies per pixel, without arcs or noise."""
    light = Light(BRICK_PIXELS + 2 * MARGIN, len(BANDS))
    moved = components.assign(x=components["x"] + MARGIN, y=components["y"] + MARGIN)
    light.add(_records(moved), BANDS)
    canvas = {band: np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.float32) for band in BANDS}
    size = TILE_PIXELS + 2 * MARGIN
    inner = slice(MARGIN, MARGIN + TILE_PIXELS)
    psfs = [exposures[band].tile_psfs() for band in BANDS]
    for row, y in enumerate(range(0, BRICK_PIXELS, TILE_PIXELS)):
        for column, x in enumerate(range(0, BRICK_PIXELS, TILE_PIXELS)):
            tile = light.observe([psf[row][column] for psf in psfs], x, y, size)
            for band, image in zip(BANDS, tile, strict=True):
                part = slice(y, y + TILE_PIXELS), slice(x, x + TILE_PIXELS)
                canvas[band][part] = image[inner, inner]
    return canvas


def _records(table: pd.DataFrame) -> Any:
    """Rows of a table as dictionaries, one at a time."""
    columns = [table[name].to_list() for name in table.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(table.columns, values, strict=True))


def add_arcs(
    clean: Mapping[str, np.ndarray],
    patch: Patch,
    exposures: Mapping[str, Exposures],
    relative_noise: Mapping[str, float],
) -> tuple[dict[str, np.ndarray], dict[int, Arcs]]:
    """Return images of a brick with the arcs of its lenses, and these by the number of the source.

    Lenses are thousands of times denser than on the real sky, and so would be those whose arcs are
    not visible: they would be a large fraction of the galaxies that are taken for non-lenses. Most
    of them are made ordinary galaxies: sources become ``elliptical``, and lenses leave the patch.
    `relative_noise` is, by band, the noise of sums over many pixels relative to what the inverse
    variance says: arcs are seen against that, as those injected into cutouts are.
    """
    canvas = {band: image.copy() for band, image in clean.items()}
    places = patch.sources.set_index("number")[["bx", "by"]]
    result: dict[int, Arcs] = {}
    for number, lens in patch.lenses.items():
        x, y = places.loc[number]
        arcs = _see_arcs(lens, x, y, clean, exposures, relative_noise)
        if not arcs.visible and np.random.default_rng([number, 16]).random() > HIDDEN_FRACTION:
            continue
        rows, columns, own_rows, own_columns = arcs.on_brick()
        for band, image in zip(BANDS, arcs.images, strict=True):
            canvas[band][rows, columns] += image[own_rows, own_columns]
        result[number] = arcs
    left_out = patch.sources["number"].isin(set(patch.lenses) - set(result))
    patch.sources.loc[left_out, "kind"] = "elliptical"
    for number in set(patch.lenses) - set(result):
        del patch.lenses[number]
    return canvas, result


def _see_arcs(
    lens: Lens,
    x: float,
    y: float,
    clean: Mapping[str, np.ndarray],
    exposures: Mapping[str, Exposures],
    relative_noise: Mapping[str, float],
) -> Arcs:
    """Arcs of a lens at a position, pixels, on images of everything else."""
    column, row = round(x), round(y)
    psfs = [exposures[band].psf_at(x, y) for band in BANDS]
    offset = (x - column, y - row)
    images, magnification = blurred_arcs(
        lens.model, lens.fluxes, psfs, BRICK_PIXELS - 1, PIXEL_SCALE_ARCSEC, offset
    )
    half = images.shape[-1] // 2
    arcs = Arcs(images, column - half, row - half, magnification, psfs[0].fwhm_arcsec)
    rows, columns, own_rows, own_columns = arcs.on_brick()
    visible, snr = is_visible(
        images[:, own_rows, own_columns],
        np.stack([clean[band][rows, columns] for band in BANDS]),
        np.array([relative_noise[band] * exposures[band].sky_noise_at(x, y) for band in BANDS]),
        lens.model,
        magnification,
        arcs.seeing_arcsec,
        PIXEL_SCALE_ARCSEC,
    )
    return replace(arcs, visible=visible, shown_snr=snr)
