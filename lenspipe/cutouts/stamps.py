"""Stamps: pixels around galaxies, from coadds or the cutout service, and their flags."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from lenspipe.config.flags import FLAGS
from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.coadds import BrickCoadds, read_stamps
from lenspipe.survey.service import CutoutService
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import clip_boxes, reading
from lenspipe.utils.progress import log

__all__ = [
    "CoaddStamps",
    "ServiceStamps",
    "StampSource",
    "Stamps",
    "coadd_paths",
    "flag_stamps",
]


@dataclass
class Stamps:
    """Pixels of N galaxies in B bands, as they come.

    Attributes
    ----------
    images, invvar
        (N, B, size, size) float32 arrays; NaN and 0 without data.
    masked
        (N, size, size) bool array: whether a pixel is masked in the coadd of mask bits.
    inside
        (N, size, size) bool array: whether a pixel is inside the coadd.
    present
        (N, B) bool array: whether there is a coadd in the band.
    """

    images: np.ndarray
    invvar: np.ndarray
    masked: np.ndarray
    inside: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class CoaddStamps:
    """Stamps cut out of coadds.

    Attributes
    ----------
    source
        As returned by `lenspipe.retrieval.sources.open_source`.
    size
        Side of a stamp, pixels; odd.
    """

    source: LocalSource
    paths: SurveyPaths
    bands: tuple[str, ...]
    size: int

    @property
    def release(self) -> Release:
        """The release that the coadds are from."""
        return self.paths.release

    def key(self, brick: str, region: str) -> list[object]:
        """Return plain values that change when the pixels of a brick may have changed."""
        return self.source.key(coadd_paths(self.paths, brick, region, self.bands).values())

    def traffic(self) -> str:
        """Describe what has been fetched, for a line of the log."""
        return self.source.traffic()

    def unchecked(self, brick: str, region: str) -> str:
        """Say why coadds were not checked against published sums, though that is configured."""
        return self.source.unchecked(coadd_paths(self.paths, brick, region, self.bands).values())

    def read(self, brick: str, region: str, parent: pd.DataFrame) -> Stamps:
        """Make the stamps of a brick's galaxies.

        `parent` has ``ra`` and ``dec`` (degrees).

        Raises
        ------
        LenspipeError
            Coadds are missing, truncated or garbled, or not those of the brick.
        RetrievalError
            A server did not deliver them.
        """
        coadds = coadd_paths(self.paths, brick, region, self.bands)
        size = self.size
        stamps = _empty_stamps(len(parent), len(self.bands), size)
        if parent.empty:
            return stamps

        def boxes(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
            return clip_boxes(*_central_pixels(wcs, parent, size), size, shape)

        of_brick = BrickCoadds(brick, self.release)
        centres: tuple[np.ndarray, np.ndarray] | None = None

        def read(path: Path, kind: str, band: str | None, fill: float) -> np.ndarray:
            nonlocal centres
            with reading(path):
                wcs, shape = of_brick.read_geometry(path, kind, band)
                if centres is None:
                    centres = _central_pixels(wcs, parent, size)
                    stamps.inside = _inside(*centres, size, boxes(wcs, shape))
                return read_stamps(path, *centres, size, fill)

        checksums = self.paths.checksums(next(iter(coadds.values())))
        with self.source.coadds(coadds, boxes, checksums) as files:
            for index, band in enumerate(self.bands):
                image, invvar = files.get(("image", band)), files.get(("invvar", band))
                if bool(image) != bool(invvar):
                    absent = coadds["invvar" if image else "image", band]
                    raise LenspipeError(
                        f"{absent}: no such file beside the other; download it again"
                    )
                stamps.present[:, index] = image is not None
                if image is None or invvar is None:
                    continue
                stamps.images[:, index] = read(image, "image", band, np.nan)
                stamps.invvar[:, index] = read(invvar, "invvar", band, 0)
            if not stamps.present.any():
                folder = str(next(iter(coadds.values()))).rpartition("/")[0]
                raise LenspipeError(f"{folder}: no image in any band; download the brick's coadds")
            maskbits = files["maskbits", None]
            if maskbits is not None:
                bits = read(maskbits, "maskbits", None, 0).astype(np.int64)
                stamps.masked = (bits & self.release.bad_pixels(self.bands)) != 0
            elif self.release.maskbits:
                raise LenspipeError(f"{coadds['maskbits', None]}: no such file; download it")
            else:
                log.info("brick %s: no mask bits, only inverse variances", brick)
        return stamps


@dataclass(frozen=True)
class ServiceStamps:
    """Stamps from the cutout service, which does not offer the mask bits; as `CoaddStamps`."""

    service: CutoutService

    @property
    def release(self) -> Release:
        """The release that the service is asked for."""
        return self.service.release

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the stamps, in order."""
        return self.service.bands

    def key(self, brick: str, region: str) -> list[object]:
        """See `CoaddStamps`."""
        return [self.service.address]

    def traffic(self) -> str:
        """See `CoaddStamps`; nothing, since the log names each request."""
        return ""

    def unchecked(self, brick: str, region: str) -> str:
        """See `CoaddStamps`."""
        return "the cutout service publishes no sums" * self.service.retrieval.checksums

    def read(self, brick: str, region: str, parent: pd.DataFrame) -> Stamps:
        """See `CoaddStamps`."""
        stamps = _empty_stamps(len(parent), len(self.bands), self.service.size)
        if parent.empty:
            return stamps
        ra, dec = parent.ra.to_numpy(), parent.dec.to_numpy()
        answer = self.service.fetch_stamps(brick, region, ra, dec)
        stamps.images, stamps.invvar, stamps.inside = answer
        stamps.present = np.isfinite(stamps.images).any(axis=(2, 3))
        return stamps


StampSource = CoaddStamps | ServiceStamps


def coadd_paths(
    paths: SurveyPaths, brick: str, region: str, bands: Iterable[str]
) -> dict[tuple[str, str | None], str | Path]:
    """Return the paths of the coadds for the cutouts of a brick, if it has all.

    Keys are (kind, band); the band of the mask bits is None.
    """
    release = paths.release
    coadds: dict[tuple[str, str | None], str | Path] = {
        (kind, band): paths.coadd(region, brick, kind, band)
        for band in bands
        if band in release.bands_of_regions[region]
        for kind in ("image", "invvar")
    }
    coadds["maskbits", None] = paths.coadd(region, brick, "maskbits")
    return coadds


def _empty_stamps(number: int, bands: int, size: int) -> Stamps:
    return Stamps(
        np.full((number, bands, size, size), np.nan, np.float32),
        np.zeros((number, bands, size, size), np.float32),
        np.zeros((number, size, size), bool),
        np.ones((number, size, size), bool),
        np.ones((number, bands), bool),
    )


def _inside(x: np.ndarray, y: np.ndarray, size: int, boxes: np.ndarray) -> np.ndarray:
    """Which pixels of stamps are inside the image, (N, size, size) bool."""
    x0, x1, y0, y1 = (edge[:, None] for edge in boxes.T)
    columns, rows = (pixel[:, None] - size // 2 + np.arange(size) for pixel in (x, y))
    in_x, in_y = (columns >= x0) & (columns < x1), (rows >= y0) & (rows < y1)
    return in_y[:, :, None] & in_x[:, None, :]


def flag_stamps(stamps: Stamps, max_masked_fraction: float) -> np.ndarray:
    """Return the flags of stamps, an (N,) int32 array with bits of `FLAGS`.

    A pixel counts as masked if the inverse variance of a band is not positive, or if the coadd of
    mask bits has BRIGHT, or SATUR or ALLMASK of a configured band. The
    masked fraction is that of the stamp's pixels inside the coadd, over the bands that the brick
    has.
    """
    inside, present = stamps.inside, stamps.present[:, :, None, None]
    centre = inside.shape[-1] // 2
    flags = np.zeros(len(inside), np.int32)
    flags[~stamps.present.all(axis=1)] |= FLAGS.MISSING_BAND
    flags[~inside.all(axis=(1, 2))] |= FLAGS.EDGE
    # Written so that a NaN counts as no exposure, too.
    unexposed = ~(stamps.invvar > 0) & present
    flags[unexposed[:, :, centre, centre].any(axis=1)] |= FLAGS.NO_EXPOSURE
    masked = (stamps.masked | unexposed.any(axis=1)) & inside
    fraction = masked.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1)
    flags[fraction > max_masked_fraction] |= FLAGS.MASKED
    nonfinite = ~np.isfinite(stamps.images) & present & inside[:, None]
    flags[nonfinite.any(axis=(1, 2, 3))] |= FLAGS.NONFINITE
    return flags


def _central_pixels(wcs: WCS, parent: pd.DataFrame, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, from 0, of the pixels nearest to the galaxies; beyond any stamp if none."""
    x, y = wcs.all_world2pix(parent.ra.to_numpy(), parent.dec.to_numpy(), 0)
    pixels = np.floor(np.stack([x, y]) + 0.5)
    # A position off the projection's half of the sky has no pixel.
    columns, rows = np.clip(np.nan_to_num(pixels, nan=-size), -size, 10**6).astype(int)
    return columns, rows
