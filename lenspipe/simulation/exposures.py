"""Observing conditions of the simulated sky: the exposures that make up its coadds.

Each exposure of a detector has a seeing, ellipticity, noise and sky level of its own. A coadd is
their sum weighted by inverse variance. One pattern covers the whole sky, so that neighbouring
bricks agree where they overlap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lenspipe.simulation.psf import Psf
from lenspipe.simulation.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG
from lenspipe.survey.photometry import to_flux

__all__ = [
    "BANDS",
    "SIGMA_ONE_EXPOSURE",
    "SKY_MAG",
    "TILES",
    "TILE_PIXELS",
    "Exposures",
    "StampConditions",
    "draw_exposures",
    "draw_stamp_conditions",
    "sky_flux",
]

BANDS = ("g", "r", "z")

#: Noise per pixel of a single exposure as inverse variance gives it, nanomaggies. In the south the
#: coadds then have a median noise of 0.0024, 0.0034 and 0.0098 per pixel, between that of five
#: stamps of DR10 and of 23 of the Dark Energy Survey. In the north g is that of a BASS coadd of
#: one exposure (DR6, brick 0959p805).
SIGMA_ONE_EXPOSURE = {
    "south": {"g": 0.0069, "r": 0.0099, "z": 0.0285},
    "north": {"g": 0.0040, "r": 0.0062, "z": 0.0290},
}

#: Median seeing FWHM of coadds, arcsec: DECam in the south; BASS (g, r) and MzLS (z) in the north,
#: where g and r are worse (Dey et al. 2019, AJ 157, 168).
SEEING_ARCSEC = {
    "south": {"g": 1.30, "r": 1.20, "z": 1.10},
    "north": {"g": 1.60, "r": 1.45, "z": 1.05},
}

#: Range of the seeing of an exposure that the survey accepts, arcsec.
SEEING_RANGE_ARCSEC = (0.7, 2.8)

#: Scatter of ln(FWHM) that all bands of a field have in common, and of single exposures: together
#: 15 % in coadds, half of its variance common to the bands.
SEEING_SCATTER = (0.105, 0.22)

#: Median FWHM of coadds over the median seeing of exposures: the sharpest ones form the core.
COADD_SEEING = 0.935

#: Scatter of ln(noise) that all exposures of a field have in common, in all bands, and of single
#: exposures; scatter of the logarithm of the number of exposures. Coadds have 0.22 in common.
NOISE_SCATTER, NUMBER_SCATTER = (0.17, 0.08), 0.1

#: Scatter of each component of the PSF's ellipticity, (a - b) / (a + b), in an exposure.
PSF_ELLIPTICITY = 0.03

#: Scatter of an exposure's sky level, and of its change over a detector, in units of its noise.
SKY_RESIDUAL = 0.04

#: Sky brightness, AB mag per square arcsec; sets the photon noise of sources relative to the sky.
SKY_MAG = {"g": 22.0, "r": 21.2, "z": 19.0}

#: Number of pointings that may cover a position, and the median fraction that does.
POINTINGS = 9
POINTING_FRACTION = 0.75

#: Size of a detector in RA and Dec, and the gap to the next, degrees.
DETECTOR_DEG = (0.30, 0.15)
GAP_DEG = 0.004

#: Side of the fields that share seeing and depth, degrees.
FIELD_DEG = 0.5

#: Fraction of the fields that have not been observed in a band.
MISSING_FRACTION = 0.005

#: Side of the tiles of a brick that have one PSF each, pixels, and their number along an axis.
TILE_PIXELS = 450
TILES = BRICK_PIXELS // TILE_PIXELS

#: Fraction of stamps from the northern cameras.
NORTH_FRACTION = 0.3

#: Fraction of stamps that are resampled once more, as the survey's cutout service does.
SERVICE_FRACTION = 0.5


def sky_flux(band: str) -> float:
    """Sky brightness, nanomaggies per pixel."""
    return float(to_flux(SKY_MAG[band], ZERO_POINT_MAG)) * PIXEL_SCALE_ARCSEC**2


@dataclass(frozen=True)
class Exposures:
    """Exposures of a brick in one band; arrays of a value per exposure, (E,).

    Pixels are counted from 0. An exposure covers columns ``x0`` to ``x1 - 1`` and rows ``y0`` to
    ``y1 - 1``.
    """

    region: str
    band: str
    x0: np.ndarray
    x1: np.ndarray
    y0: np.ndarray
    y1: np.ndarray
    fwhm: np.ndarray
    e1: np.ndarray
    e2: np.ndarray
    #: Noise per pixel, nanomaggies.
    sigma: np.ndarray
    #: Sky level that the pipeline left, and its slopes along x and y over the image's width,
    #: nanomaggies per pixel, (E, 3).
    offset: np.ndarray
    #: Position of coadd pixels on the detector's at the brick's lower left corner, along x and y,
    #: and its change per coadd pixel, (E, 4).
    phase: np.ndarray
    #: Lower left corner of the detector, which may lie outside the brick, (E, 2).
    corner: np.ndarray
    #: Seeds of the artefacts of each exposure.
    seeds: tuple[tuple[int, ...], ...]

    def without_variation(self) -> "Exposures":
        """The same exposures, with the mean seeing and without ellipticity."""
        if not len(self.fwhm):
            return self
        none = np.zeros_like(self.fwhm)
        return replace(self, fwhm=np.full_like(self.fwhm, self.fwhm.mean()), e1=none, e2=none)

    def covering(self, x: float, y: float) -> np.ndarray:
        """Mask of the exposures that cover a position, pixels; the nearest if none does."""
        distance = np.maximum.reduce(
            [self.x0 - x - 0.5, x + 0.5 - self.x1, self.y0 - y - 0.5, y + 0.5 - self.y1]
        )
        covering = distance <= 0
        return covering if covering.any() else distance == distance.min()

    def psf_at(self, x: float, y: float) -> Psf:
        """PSF of the coadd at a position, pixels; a typical one if there is no exposure."""
        if not len(self.fwhm):
            return Psf.round(SEEING_ARCSEC[self.region][self.band])
        mask = self.covering(x, y)
        return _coadd_psf(self.sigma[mask] ** -2, self.fwhm[mask], self.e1[mask], self.e2[mask])

    def sky_noise_at(self, x: float, y: float) -> float:
        """Noise of the sky per pixel at a position, pixels; infinite where there is no exposure."""
        mask = self.covering(x, y)
        inside = (self.x0[mask] - 0.5 <= x) & (x <= self.x1[mask] - 0.5)
        inside &= (self.y0[mask] - 0.5 <= y) & (y <= self.y1[mask] - 0.5)
        return float((self.sigma[mask] ** -2).sum() ** -0.5) if inside.any() else np.inf

    def weights_and_phases(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights, (E,), and phases along x and y, (E, 2), of the exposures at a position."""
        if not len(self.fwhm):
            return np.ones(1), np.zeros((1, 2))
        mask = self.covering(x, y)
        weights = self.sigma[mask] ** -2
        phase = self.phase[mask]
        return weights / weights.sum(), (phase[:, :2] + phase[:, 2:] * [[x, y]]) % 1

    def tile_psfs(self) -> list[list[Psf]]:
        """PSF at the centre of each tile, by row and column."""
        centres = (np.arange(TILES) + 0.5) * TILE_PIXELS - 0.5
        return [[self.psf_at(x, y) for x in centres] for y in centres]

    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of exposures, int16, and inverse variance, float32, of every pixel."""
        shape = (BRICK_PIXELS, BRICK_PIXELS)
        number, invvar = np.zeros(shape, np.int16), np.zeros(shape, np.float32)
        for x0, x1, y0, y1, sigma in zip(
            self.x0, self.x1, self.y0, self.y1, self.sigma, strict=True
        ):
            number[y0:y1, x0:x1] += 1
            invvar[y0:y1, x0:x1] += np.float32(sigma**-2)
        return number, invvar


def draw_exposures(
    seed: int, band: str, region: str, ra: float, dec: float, missing: bool = True
) -> Exposures:
    """Draw the exposures of a brick at `ra`, `dec` (degrees): detectors of shifted tilings.

    Detectors follow the lines of RA and Dec. The region, ``north`` or ``south``, stands for the
    cameras. With `missing`, some fields have not been observed in the band.
    """
    north = region == "north"
    scale = PIXEL_SCALE_ARCSEC / 3600
    half = BRICK_PIXELS / 2 * scale
    around_360 = round(360 / DETECTOR_DEG[0])
    rows: list[list[float]] = []
    seeds = []
    for pointing in range(POINTINGS):
        key = [seed, BANDS.index(band), north, pointing, 11]
        shift = np.random.default_rng(key).random(2)
        lines = np.floor(np.array([dec - half, dec + half]) / DETECTOR_DEG[1] + shift[1])
        for j in range(int(lines[0]), int(lines[1]) + 1):
            south = (j - shift[1]) * DETECTOR_DEG[1]
            # The same for every brick that the detector touches.
            cos_dec = float(np.cos(np.radians(south + DETECTOR_DEG[1] / 2)))
            ends = np.array([ra - half / cos_dec, ra + half / cos_dec])
            columns = np.floor(ends / DETECTOR_DEG[0] + shift[0]).astype(int)
            for i in range(columns[0], columns[1] + 1):
                west = (i - shift[0]) * DETECTOR_DEG[0]
                # Columns grow to the West.
                edges_x = [
                    (BRICK_PIXELS - 1) / 2 - (value - ra) * cos_dec / scale
                    for value in (west + DETECTOR_DEG[0] - GAP_DEG / cos_dec, west)
                ]
                edges_y = [
                    (BRICK_PIXELS - 1) / 2 + (value - dec) / scale
                    for value in (south, south + DETECTOR_DEG[1] - GAP_DEG)
                ]
                x0, x1, y0, y1 = np.clip(np.ceil(edges_x + edges_y), 0, BRICK_PIXELS)
                if x0 >= x1 or y0 >= y1:
                    continue
                cell = (*key[:-1], i % around_360, j + 10**6)
                rng = np.random.default_rng([*cell, 11])
                field = _field(seed, north, west + DETECTOR_DEG[0] / 2, south + DETECTOR_DEG[1] / 2)
                if rng.random() >= _fraction(field[1]):
                    continue
                if missing and _is_missing(
                    seed, band, north, west + DETECTOR_DEG[0] / 2, south + DETECTOR_DEG[1] / 2
                ):
                    continue
                values = _draw_exposures(rng, 1, band, region, field)
                offset = values["sigma"] * SKY_RESIDUAL * rng.standard_normal(3)
                phase = rng.random(2)
                slopes = rng.normal(0.004, 0.002, 2)
                # Phases are those of the sky, not of the brick's corner.
                origin = np.array([edges_x[0], edges_y[0]])
                phase = (phase - slopes * origin) % 1
                # The sky level at the brick's lower left corner, from that at the detector's.
                offset[0] -= offset[1:] @ origin / BRICK_PIXELS
                rows.append(
                    [x0, x1, y0, y1, *(float(v[0]) for v in values.values()),
                     *offset, *phase, *slopes, *origin]
                )  # fmt: skip
                seeds.append(cell)
    table = np.array(rows, float).reshape(-1, 17)
    x0, x1, y0, y1 = table[:, :4].T.astype(int)
    fwhm, e1, e2, sigma = table[:, 4:8].T
    return Exposures(
        region, band, x0, x1, y0, y1, fwhm, e1, e2, sigma, table[:, 8:11], table[:, 11:15],
        table[:, 15:], tuple(seeds),
    )  # fmt: skip


def _field(seed: int, north: bool, ra: float, dec: float) -> np.ndarray:
    """Deviations of seeing and depth that all bands of a field share, in standard deviations."""
    i, j = int(ra % 360 // FIELD_DEG), int((dec + 90) // FIELD_DEG)
    return np.random.default_rng([seed, north, i, j, 10]).standard_normal(2)


def _is_missing(seed: int, band: str, north: bool, ra: float, dec: float) -> bool:
    """Whether a field has not been observed in a band."""
    i, j = int(ra % 360 // FIELD_DEG), int((dec + 90) // FIELD_DEG)
    key = [seed, BANDS.index(band), north, i, j, 12]
    return bool(np.random.default_rng(key).random() < MISSING_FRACTION)


def _fraction(depth: float) -> float:
    """Fraction of the pointings that cover a position of a field."""
    return float(np.clip(POINTING_FRACTION * np.exp(-NUMBER_SCATTER * depth), 0.4, 0.95))


def _draw_exposures(
    rng: np.random.Generator, number: int, band: str, region: str, field: np.ndarray
) -> Mapping[str, np.ndarray]:
    """Draw seeing, ellipticity and noise of exposures of a field."""
    common, own = SEEING_SCATTER
    normal = rng.standard_normal((4, number))
    median = SEEING_ARCSEC[region][band] / COADD_SEEING
    fwhm = median * np.exp(common * field[0] + own * normal[0])
    e1, e2 = (PSF_ELLIPTICITY * normal[1:3]).clip(-0.12, 0.12)
    noise = np.exp(NOISE_SCATTER[0] * field[1] + NOISE_SCATTER[1] * normal[3])
    return {
        "fwhm": fwhm.clip(*SEEING_RANGE_ARCSEC),
        "e1": e1,
        "e2": e2,
        "sigma": SIGMA_ONE_EXPOSURE[region][band] * noise,
    }


def _coadd_psf(weights: np.ndarray, fwhm: np.ndarray, e1: np.ndarray, e2: np.ndarray) -> Psf:
    """PSF of a coadd with two profiles, of the sharper and of the blunter half of its weight.

    The peak is that of the sum of all exposures; the FWHM is larger by 1.5 % on average.
    """
    order = np.argsort(fwhm)
    blunter = np.empty(len(fwhm), int)
    cumulative = np.cumsum(weights[order])
    blunter[order] = cumulative - weights[order] / 2 > cumulative[-1] / 2
    if not 0 < blunter.sum() < len(fwhm) or np.ptp(fwhm) < 1e-6:
        blunter[:] = 0
    total = np.bincount(blunter, weights)
    peak, mean_e1, mean_e2 = (
        np.bincount(blunter, weights * values) / total for values in (fwhm**-2, e1, e2)
    )
    return Psf(total / total.sum(), peak**-0.5, mean_e1, mean_e2)


@dataclass(frozen=True)
class StampConditions:
    """Observing conditions of one stamp; a value or entry per band, in the order of `BANDS`."""

    region: str
    psfs: tuple[Psf, ...]
    #: Noise per pixel as inverse variance gives it, nanomaggies.
    sigma: np.ndarray
    #: Number of exposures.
    exposures: np.ndarray
    #: Electrons per nanomaggy of the coadd.
    gain: np.ndarray
    #: Weights of the exposures, which add up to 1.
    weights: tuple[np.ndarray, ...]
    #: Position of the stamp's pixels on the detectors' along x and y, (E, 2).
    phases: tuple[np.ndarray, ...]
    #: Position of the stamp's pixels on the coadd's along x and y, if it was resampled from it.
    service_phase: tuple[float, float] | None

    def without_variation(self) -> "StampConditions":
        """The same conditions, with the median seeing of the region and without ellipticity."""
        seeing = SEEING_ARCSEC[self.region]
        return replace(self, psfs=tuple(Psf.round(seeing[band]) for band in BANDS))


def draw_stamp_conditions(rng: np.random.Generator, region: str | None = None) -> StampConditions:
    """Draw the conditions of a stamp somewhere in a region; in either, if none is given."""
    if region is None:
        region = "north" if rng.random() < NORTH_FRACTION else "south"
    field = rng.standard_normal(2)
    numbers = np.maximum(rng.binomial(POINTINGS, _fraction(field[1]), len(BANDS)), 1)
    psfs, sigma, all_weights, phases = [], [], [], []
    for band, number in zip(BANDS, numbers, strict=True):
        values = _draw_exposures(rng, number, band, region, field)
        weights = values["sigma"] ** -2
        psfs.append(_coadd_psf(weights, values["fwhm"], values["e1"], values["e2"]))
        sigma.append(weights.sum() ** -0.5)
        all_weights.append(weights / weights.sum())
        phases.append(rng.random((number, 2)))
    service = tuple(rng.random(2)) if rng.random() < SERVICE_FRACTION else None
    noise = np.array(sigma)
    gain = np.array([sky_flux(band) for band in BANDS]) / noise**2
    return StampConditions(
        region, tuple(psfs), noise, numbers, gain, tuple(all_weights), tuple(phases), service
    )
