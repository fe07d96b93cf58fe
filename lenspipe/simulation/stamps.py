"""Stamps of simulated galaxies without bricks: to train on, and to judge a network with many."""

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.random import Generator

from lenspipe.config.data import Effect
from lenspipe.simulation.artefacts import add_stamp_artefacts
from lenspipe.simulation.exposures import BANDS, draw_stamp_conditions
from lenspipe.simulation.galaxies import (
    FIELD_DENSITY,
    STAR_DENSITY,
    Component,
    Scene,
    field_galaxies,
    stars,
)
from lenspipe.simulation.kinds import NON_LENSES, draw_non_lens
from lenspipe.simulation.lenses import Lens, draw_lenses, is_visible
from lenspipe.simulation.lensing import blurred_arcs
from lenspipe.simulation.noise import large_scale_noise, stamp_noise
from lenspipe.simulation.painting import Light
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.progress import end_with, log

__all__ = ["EFFECTS", "draw_lens_stamp", "draw_non_lens_stamp", "draw_stamps"]

#: All effects of config key ``simulation.effects``.
EFFECTS: tuple[str, ...] = get_args(Effect)

#: Pixels around a stamp of which the light is seen through the PSF.
_MARGIN = 21

#: Brightest r magnitude of the stars on a stamp, and the minimum distance from its centre of
#: galaxies and stars of the field, arcsec.
_BRIGHTEST_STAR, _FIELD_GAP = 13.0, 1.5

#: Stamps of one task, which share a random generator.
_TASK = 50


def draw_stamps(
    kind: Literal["lens", "nonlens"],
    number: int,
    seed: int,
    workers: int | None = None,
    size: int = 101,
    effects: Collection[str] = EFFECTS,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw stamps of visible lenses, or of other galaxies in the proportions of `NON_LENSES`.

    The same arguments give the same stamps, whatever the number of processes.

    Parameters
    ----------
    seed
        Stamps of other seeds, and of the other kind, are independent.
    workers
        Number of processes; all cores if not given.
    size
        Side, pixels; odd.
    effects
        As in config key ``simulation.effects``.

    Returns
    -------
    images : numpy.ndarray
        (number, 3, size, size) float32, nanomaggies per pixel in g, r, z; row 0 in the South.
    table : pandas.DataFrame
        A row per stamp: kind, redshift, mag_r, mag_z, members (of its group), seeing (in g,
        arcsec), artefact, and for lenses theta_e_arcsec, beta, magnification, arc_mag_g, arc_snr.
    """
    workers = workers or len(os.sched_getaffinity(0))
    images: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    task = 0
    with ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),)) as pool:
        while len(rows) < number:
            tasks = range(task, task + 2 * workers)
            draws = [(kind, seed, i, size, tuple(effects)) for i in tasks]
            for of_task, of_rows in pool.map(_draw_task, draws):
                images.append(of_task)
                rows += of_rows
            task = tasks.stop
            log.info("simulated stamps (%s): %d of %d", kind, min(len(rows), number), number)
    return np.concatenate(images)[:number], pd.DataFrame(rows[:number])


def _draw_task(
    task: tuple[str, int, int, int, tuple[str, ...]],
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw some stamps: of lenses, those that are visible."""
    kind, seed, number, size, effects = task
    rng = np.random.default_rng([seed, kind == "lens", number, 41])
    stamps: Iterator[tuple[np.ndarray, dict[str, Any]] | None]
    if kind == "lens":
        stamps = (draw_lens_stamp(rng, lens, size, effects) for lens in draw_lenses(rng, _TASK))
    else:
        weights = np.array(list(NON_LENSES.values()))
        kinds = rng.choice(list(NON_LENSES), _TASK, p=weights / weights.sum())
        stamps = (draw_non_lens_stamp(rng, kind, size, effects) for kind in kinds)
    drawn = [stamp for stamp in stamps if stamp]
    images = np.array([image for image, _ in drawn], np.float32).reshape(-1, 3, size, size)
    return images, [row for _, row in drawn]


def draw_non_lens_stamp(
    rng: Generator, kind: str, size: int = 101, effects: Collection[str] = EFFECTS
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw a stamp, (3, size, size), of a galaxy of a kind of `NON_LENSES`, and its row."""
    stamp = _Stamp(rng, draw_non_lens(rng, kind), size, effects)
    return stamp.finish(stamp.clean), stamp.row


def draw_lens_stamp(
    rng: Generator, lens: Lens, size: int = 101, effects: Collection[str] = EFFECTS
) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Draw a stamp, (3, size, size), of a lens and its row; None if the arcs are not visible."""
    stamp = _Stamp(rng, lens.scene, size, effects)
    psfs = stamp.conditions.psfs
    arcs, magnification = blurred_arcs(
        lens.model, lens.fluxes, psfs, size, PIXEL_SCALE_ARCSEC, stamp.offset
    )
    images = np.zeros_like(stamp.clean)
    begin = (size - arcs.shape[-1]) // 2
    inner = slice(begin, begin + arcs.shape[-1])
    images[:, inner, inner] = arcs
    model, sigma = lens.model, stamp.conditions.sigma
    if "correlated_noise" in effects:
        region = stamp.conditions.region
        sigma = sigma * np.array([large_scale_noise(region, band) for band in BANDS])
    visible, snr = is_visible(
        images, stamp.clean, sigma, model, magnification, psfs[0].fwhm_arcsec, PIXEL_SCALE_ARCSEC
    )
    if not visible:
        return None
    stamp.row |= lens.describe(magnification) | {"arc_snr": snr}
    return stamp.finish(stamp.clean + images), stamp.row


class _Stamp:
    """A scene at the centre of a stamp, with the field around it, in conditions of its own."""

    def __init__(self, rng: Generator, scene: Scene, size: int, effects: Collection[str]) -> None:
        self.rng, self.effects = rng, effects
        conditions = draw_stamp_conditions(rng)
        self.conditions = conditions if "varying_psf" in effects else conditions.without_variation()
        light = Light(size + 2 * _MARGIN, len(BANDS))
        #: Position of the galaxy relative to the centre of the central pixel.
        self.offset = tuple(rng.uniform(-0.5, 0.5, 2))
        field = _draw_field(rng, light.size * PIXEL_SCALE_ARCSEC)
        centre = (light.size - 1) / 2
        light.add(
            (
                part
                | {
                    "x": centre + self.offset[0] + part["dx"] / PIXEL_SCALE_ARCSEC,
                    "y": centre + self.offset[1] + part["dy"] / PIXEL_SCALE_ARCSEC,
                }
                for part in [*scene.components, *field]
            ),
            BANDS,
        )
        inner = slice(_MARGIN, _MARGIN + size)
        self.clean = light.observe(self.conditions.psfs)[:, inner, inner]
        main = [part for part in scene.components if part["source"] == 0]
        self.row: dict[str, Any] = {
            "kind": scene.kind,
            "redshift": scene.redshift,
            **{
                f"mag_{band}": float(
                    to_magnitude(sum(part[f"flux_{band}"] for part in main), ZERO_POINT_MAG)
                )
                for band in ("r", "z")
            },
            "members": len(scene.sources) - 1,
            "seeing": self.conditions.psfs[0].fwhm_arcsec,
        }

    def finish(self, image: np.ndarray) -> np.ndarray:
        """Add noise and, rarely, an artefact."""
        correlated = "correlated_noise" in self.effects
        image = image + stamp_noise(self.rng, self.conditions, image, correlated)
        artefact = add_stamp_artefacts(self.rng, image, self.conditions, self.effects)
        self.row["artefact"] = artefact or ""
        return image.astype(np.float32)


def _draw_field(rng: Generator, side_arcsec: float) -> list[Component]:
    """Galaxies and stars of the field on a square around a galaxy, but not on it."""
    area = (side_arcsec / 60) ** 2
    result: list[Component] = []
    draw: Callable[..., dict[str, np.ndarray]]
    for density, draw in (
        (FIELD_DENSITY, field_galaxies),
        (STAR_DENSITY, lambda rng, number: stars(rng, number, _BRIGHTEST_STAR)),
    ):
        number = rng.poisson(density * area)
        columns = draw(rng, number)
        columns["dx"], columns["dy"] = rng.uniform(-side_arcsec / 2, side_arcsec / 2, (2, number))
        rows = (
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        )
        result += [row for row in rows if np.hypot(row["dx"], row["dy"]) > _FIELD_GAP]
    return result
