"""Observing conditions of the simulated sky: exposures, seeing and noise by position."""

from dataclasses import dataclass

import numpy as np

from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG
from lenspipe.survey.photometry import to_flux

__all__ = ["BANDS", "Conditions", "draw_conditions", "exposure_map"]

BANDS = ("g", "r", "z")

#: Noise per pixel of a single exposure, nanomaggies; four exposures give the survey's typical
#: 0.003, 0.0055, 0.014.
SIGMA_ONE_EXPOSURE = {
    "south": {"g": 0.0060, "r": 0.0110, "z": 0.0280},
    "north": {"g": 0.0070, "r": 0.0130, "z": 0.0260},
}

#: Median seeing FWHM, arcsec: DECam in the south; BASS (g, r) and MzLS (z) in the north, where
#: g and r are worse (Dey et al. 2019, AJ 157, 168).
SEEING_ARCSEC = {
    "south": {"g": 1.30, "r": 1.20, "z": 1.10},
    "north": {"g": 1.60, "r": 1.45, "z": 1.05},
}

#: Sky brightness, AB mag per square arcsec; sets the shot noise of sources relative to the sky.
SKY_MAG = {"g": 22.0, "r": 21.2, "z": 19.0}

#: Number of pointings that may cover a position.
POINTINGS = 10

#: Fraction of those pointings that do cover it.
POINTING_FRACTION = 0.52

#: Size of a detector in RA and Dec, degrees.
DETECTOR_DEG = (0.30, 0.15)


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of one brick in one band."""

    #: Seeing.
    fwhm_arcsec: float
    #: Noise per pixel of a single exposure, nanomaggies.
    sigma_one: float
    #: Electrons per nanomaggy in one exposure.
    gain: float

    def shot_variance(self, flux: np.ndarray, exposures: np.ndarray) -> np.ndarray:
        """Variance per pixel of the photon noise of the sources, nanomaggies^2."""
        return np.maximum(flux, 0) / (self.gain * exposures)


def draw_conditions(seed: int, brickid: int, region: str) -> dict[str, Conditions]:
    """Draw the seeing and noise of a brick in each band.

    The region, ``north`` or ``south``, stands for the cameras.
    """
    rng = np.random.default_rng([seed, brickid, region == "north", 10])
    result = {}
    for band in BANDS:
        sigma = SIGMA_ONE_EXPOSURE[region][band] * np.exp(0.06 * rng.standard_normal())
        fwhm = SEEING_ARCSEC[region][band] * np.exp(0.08 * rng.standard_normal())
        sky = to_flux(SKY_MAG[band], ZERO_POINT_MAG) * PIXEL_SCALE_ARCSEC**2
        result[band] = Conditions(fwhm, sigma, sky / sigma**2)
    return result


def exposure_map(seed: int, band: str, region: str, ra: float, dec: float) -> np.ndarray:
    """Count exposures over a brick: random subsets of the detectors of ten shifted tilings.

    Exposures are 1 to 10, int16, shape (3600, 3600); their pattern follows the lines of RA and Dec
    through the centre (degrees). One pattern covers the whole sky, so neighbouring bricks agree.
    """
    offset = (np.arange(BRICK_PIXELS) - (BRICK_PIXELS - 1) / 2) * PIXEL_SCALE_ARCSEC / 3600
    rows = dec + offset
    columns = ra - offset / np.cos(np.radians(dec))
    total = np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.uint8)
    for pointing in range(POINTINGS):
        key = [seed, BANDS.index(band), region == "north", pointing, 11]
        shift = np.random.default_rng(key).random(2)
        x = np.floor(columns / DETECTOR_DEG[0] + shift[0]).astype(int)
        y = np.floor(rows / DETECTOR_DEG[1] + shift[1]).astype(int)
        (x_values, x_index), (y_values, y_index) = (
            np.unique(v, return_inverse=True) for v in (x, y)
        )
        chance = [
            [np.random.default_rng([*key, i + 10**6, j + 10**6]).random() for i in x_values]
            for j in y_values
        ]
        covered = (np.array(chance) < POINTING_FRACTION).astype(np.uint8)
        total += covered.take(y_index, axis=0).take(x_index, axis=1)
    return np.maximum(total, 1).astype(np.int16)
