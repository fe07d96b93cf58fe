"""Galactic dust of the simulated sky: reddening of sources, and cirrus."""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import map_coordinates, uniform_filter

from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC

__all__ = ["EXTINCTION", "TYPICAL_EBV", "add_cirrus", "at_positions", "dust_map", "transmission"]

#: Extinction A/E(B-V) of the survey's filters (https://www.legacysurvey.org/dr9/catalogs/).
EXTINCTION = {"g": 3.214, "r": 2.165, "z": 1.211}

#: Median E(B-V), at which the populations have their observed magnitudes.
TYPICAL_EBV = 0.03

#: Scatter of ln E(B-V) from degree to degree.
_SCATTER = 0.6

#: Side of the largest cells of the map, degrees; each further octave halves it.
_CELL_DEG = 1.0
_OCTAVES = 6

#: Amplitude of an octave relative to that before: a power spectrum with index -2.9
#: (Miville-Deschenes et al. 2016, A&A 593, A4).
_DECREASE = 0.73

#: Surface brightness of cirrus per E(B-V), nanomaggies per pixel: 27.0 mag per square arcsec in r
#: at E(B-V) = 0.03, with its colours (Roman, Trujillo & Montes 2020, A&A 644, A42).
CIRRUS = {"g": 0.020, "r": 0.036, "z": 0.060}

#: Side of the box in which the sky subtraction removes the mean, arcsec.
_SKY_BOX_ARCSEC = 180.0

#: Side of the pixels of the map of a brick, coadd pixels.
STEP = 20


def dust_map(seed: int, ra: float, dec: float) -> np.ndarray:
    """E(B-V) on a brick at `ra`, `dec` (degrees), in cells of `STEP` pixels.

    The map covers the whole sky, and so is the same where bricks overlap.
    """
    side = BRICK_PIXELS // STEP
    offset = (np.arange(side) - (side - 1) / 2) * STEP * PIXEL_SCALE_ARCSEC / 3600
    rows = dec + offset
    columns = ra - offset / np.cos(np.radians(dec))
    total = np.zeros((side, side))
    norm = 0.0
    for octave in range(_OCTAVES):
        cell = _CELL_DEG / 2**octave
        amplitude = _DECREASE**octave
        norm += (4 / 9) * amplitude**2
        x, y = columns / cell, (rows + 90) / cell
        i, j = int(np.floor(x.min())), int(np.floor(y.min()))
        around_360 = round(360 / cell)
        nodes = [
            [
                np.random.default_rng([seed, octave, k % around_360, m, 16]).standard_normal()
                for k in range(i, int(x.max()) + 2)
            ]
            for m in range(j, int(y.max()) + 2)
        ]
        total += (
            amplitude
            * np.array(_linear(y - j, len(nodes)))
            @ np.array(nodes)
            @ np.array(_linear(x - i, len(nodes[0]))).T
        )
    return TYPICAL_EBV * np.exp(_SCATTER * total / np.sqrt(norm))


def _linear(x: np.ndarray, number: int) -> np.ndarray:
    """Weights of nodes 0, 1, ... at positions between them, (positions, nodes)."""
    return np.maximum(1 - np.abs(x[:, None] - np.arange(number)), 0)


def at_positions(ebv: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """E(B-V) at positions on the brick of a map, pixels; beyond its edge that of the edge."""
    return map_coordinates(ebv, [(y + 0.5) / STEP - 0.5, (x + 0.5) / STEP - 0.5],
                           order=1, mode="nearest")  # fmt: skip


def transmission(ebv: np.ndarray, band: str) -> np.ndarray:
    """Fraction of the light of a source that dust lets pass: ``mw_transmission``."""
    return 10 ** (-0.4 * EXTINCTION[band] * ebv)


def add_cirrus(images: Mapping[str, np.ndarray], ebv: np.ndarray) -> None:
    """Add the light that the dust on a brick scatters, after subtraction of the sky, in place."""
    box = round(_SKY_BOX_ARCSEC / PIXEL_SCALE_ARCSEC / STEP)
    residual = (ebv - uniform_filter(ebv, box, mode="nearest")).astype(np.float32)
    side = BRICK_PIXELS // STEP
    centres = (np.arange(BRICK_PIXELS) + 0.5) / STEP - 0.5
    weights = _linear(centres.clip(0, side - 1), side).astype(np.float32)
    light = weights @ residual @ weights.T
    for band in BANDS:
        images[band] += np.float32(CIRRUS[band]) * light
