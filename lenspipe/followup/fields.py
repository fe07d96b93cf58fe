"""Images of a field, from any source, on a common grid with North up and East left."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from scipy.ndimage import map_coordinates

from lenspipe.config.paths import RunPaths
from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.products.tables import read_table
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.coadds import read_geometry, read_stamps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import clip_boxes

__all__ = ["Field", "FitsImage", "SkyImage", "Survey", "read_bricks", "resample", "stamp_image"]

# Margin around a section, so that interpolation at its edge is that of the whole image, pixels.
_MARGIN = 8


@dataclass(frozen=True)
class Field:
    """A square field in a tangent plane with North up and East left.

    Attributes
    ----------
    ra, dec
        Centre, degrees.
    pixels
        Along a side.
    """

    ra: float
    dec: float
    side_arcsec: float
    pixels: int

    @property
    def wcs(self) -> WCS:
        """World coordinates."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [(self.pixels + 1) / 2] * 2
        scale = self.side_arcsec / self.pixels / 3600
        wcs.wcs.cd = [[-scale, 0], [0, scale]]
        return wcs

    def pixels_in(self, wcs: WCS) -> tuple[np.ndarray, np.ndarray]:
        """Column and row, from 0, of each pixel in another image; NaN where there is none."""
        rows, columns = np.indices((self.pixels, self.pixels))
        sky = self.wcs.all_pix2world(columns.ravel(), rows.ravel(), 0)
        x, y = wcs.all_world2pix(*sky, 0, quiet=True)
        return x.reshape(rows.shape), y.reshape(rows.shape)


@dataclass(frozen=True)
class SkyImage:
    """Pixels with world coordinates.

    Attributes
    ----------
    pixels
        Shape (B, H, W); NaN where there is no data.
    """

    pixels: np.ndarray
    wcs: WCS


def resample(image: SkyImage, field: Field, order: int = 3) -> np.ndarray:
    """Resample an image onto the grid of a field.

    The surface brightness is the same, float32, shape (B, S, S); NaN where the image has no data.
    The order is that of the interpolating splines; 1 for images with discontinuities, such as
    masked stars.
    """
    x, y = field.pixels_in(image.wcs)
    positions = [np.nan_to_num(y, nan=-1e6), np.nan_to_num(x, nan=-1e6)]
    result = np.empty((len(image.pixels), *x.shape), np.float32)
    for band, pixels in zip(result, image.pixels, strict=True):
        finite = np.isfinite(pixels)
        filled = np.where(finite, pixels, 0).astype(np.float32)
        band[:] = map_coordinates(filled, positions, order=order, mode="nearest")
        inside = map_coordinates(finite.astype(np.uint8), positions, order=0, mode="grid-constant")
        band[inside == 0] = np.nan
    return result


def stamp_image(
    stamp: np.ndarray, ra: float, dec: float, brick: Mapping[str, Any], release: Release
) -> SkyImage:
    """Add world coordinates to a cutout of a run.

    Parameters
    ----------
    stamp
        Shape (B, S, S).
    ra, dec
        Of the galaxy, degrees; the cutout's central pixel is the brick's pixel nearest to it.
    brick
        Centre of the brick: ra, dec.
    release
        That the cutout was taken from.
    """
    wcs = brick_wcs(brick["ra"], brick["dec"], release)
    x, y = (int(np.floor(pixel + 0.5)) for pixel in wcs.all_world2pix(ra, dec, 0))
    return SkyImage(stamp, _shifted(wcs, x - stamp.shape[-1] // 2, y - stamp.shape[-1] // 2))


def _shifted(wcs: WCS, left: int, bottom: int) -> WCS:
    """World coordinates of a section of a coadd, which may begin outside it."""
    wcs = wcs.deepcopy()
    wcs.wcs.crpix -= [left, bottom]
    return wcs


class Survey:
    """Coadds of the survey around positions.

    The source is provided by `lenspipe.retrieval.sources.open_source`; bricks are those of the run:
    brick, region, ra, dec (degrees).
    """

    def __init__(self, paths: SurveyPaths, source: Any, bricks: pd.DataFrame) -> None:
        self.paths, self.source, self.bricks = paths, source, bricks

    def read(self, field: Field, bands: Sequence[str], order: int = 3) -> np.ndarray:
        """Read the coadds of all bricks of the run that overlap a field, on its grid.

        Nanomaggies, float32, shape (B, S, S); NaN where no brick has data. The order is as in
        `resample`.

        Raises
        ------
        LenspipeError
            A coadd cannot be read or fetched.
        """
        result = np.full((len(bands), field.pixels, field.pixels), np.nan, np.float32)
        for brick in self._near(field).itertuples():
            for band, pixels in zip(bands, result, strict=True):
                if np.isnan(pixels).any():
                    section = self._read_section(brick, band, field, order)
                    pixels[:] = np.where(np.isnan(pixels), section, pixels)
        return result

    def _near(self, field: Field) -> pd.DataFrame:
        """Bricks that overlap a field, the nearest first."""
        reach = self.paths.release.brick_deg / 2 + field.side_arcsec / 3600 / 2
        north = np.abs(self.bricks["dec"] - field.dec)
        east = np.abs((self.bricks["ra"] - field.ra + 180) % 360 - 180)
        east = east * np.cos(np.deg2rad(field.dec))
        bricks = self.bricks.assign(distance=np.hypot(north, east))
        return bricks[(north < reach) & (east < reach)].sort_values(["distance", "brick"])

    def _read_section(self, brick: Any, band: str, field: Field, order: int) -> np.ndarray:
        # A little larger than the field, which may be rotated; odd, as stamps are.
        scale_arcsec = self.paths.release.pixel_scale_arcsec
        side = int(1.05 * field.side_arcsec / scale_arcsec) + 2 * _MARGIN
        side += side % 2 == 0

        def centre(wcs: WCS) -> tuple[np.ndarray, np.ndarray]:
            x, y = wcs.all_world2pix([field.ra], [field.dec], 0)
            return np.rint(x).astype(int), np.rint(y).astype(int)

        def boxes(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
            return clip_boxes(*centre(wcs), side, shape)

        coadds = {band: self.paths.coadd(brick.region, brick.brick, "image", band)}
        checksums = self.paths.checksums(coadds[band])
        with self.source.coadds(coadds, boxes, checksums) as files:
            file = files[band]
            if file is None:
                return np.full((field.pixels, field.pixels), np.nan, np.float32)
            wcs, _ = read_geometry(file)
            (x,), (y,) = centre(wcs)
            stamp = read_stamps(file, np.array([x]), np.array([y]), side, np.nan)
        image = SkyImage(stamp, _shifted(wcs, x - side // 2, y - side // 2))
        return resample(image, field, order)[0]


class FitsImage:
    """The first image with celestial coordinates in a FITS file of any origin.

    Raises
    ------
    LenspipeError
        There is no such file, or no such image in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as hdus:
            for number, hdu in enumerate(hdus):
                if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2:
                    wcs = _celestial(hdu.header, hdus)
                    if wcs is not None:
                        self.number, self.wcs, self.shape = number, wcs, hdu.shape[-2:]
                        break
            else:
                raise LenspipeError(
                    f"{path}: found no image with world coordinates (CTYPE RA---TAN, DEC--TAN or "
                    "similar), expected one; give another --image"
                )

    @property
    def scale_arcsec(self) -> float:
        """Side of a pixel, arcsec."""
        return float(np.sqrt(self.wcs.proj_plane_pixel_area().to_value("arcsec2")))

    @contextlib.contextmanager
    def _open(self) -> Iterator[fits.HDUList]:
        try:
            with fits.open(self.path) as hdus:
                yield hdus
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise LenspipeError(
                f"{self.path}: not a readable FITS file ({reason}); give another --image"
            ) from None

    def read(self, field: Field) -> np.ndarray | None:
        """Read the image on the grid of a field.

        float32, shape (S, S), NaN where there is no data; None if there is none in the field.
        """
        x, y = field.pixels_in(self.wcs)
        if not np.isfinite(x).any():
            return None
        bounds = []
        for pixels, size in zip((y, x), self.shape, strict=True):
            low, high = np.nanmin(pixels) - _MARGIN, np.nanmax(pixels) + _MARGIN
            bounds.append((int(np.clip(low, 0, size)), int(np.clip(high + 1, 0, size))))
        (bottom, top), (left, right) = bounds
        if bottom == top or left == right:
            return None
        with self._open() as hdus:
            hdu = hdus[self.number]
            leading = (0,) * (len(hdu.shape) - 2)
            pixels = np.array(hdu.section[(*leading, slice(bottom, top), slice(left, right))])
        pixels = pixels.astype(np.float32)
        # Drizzled images are exactly 0 where there is no exposure.
        pixels[pixels == 0] = np.nan
        section = SkyImage(pixels[None], self.wcs[bottom:top, left:right])
        resampled = resample(section, field, order=1)[0]
        return resampled if np.isfinite(resampled).any() else None


def _celestial(header: fits.Header, hdus: fits.HDUList) -> WCS | None:
    """Celestial coordinates of an image; None if it has none."""
    with warnings.catch_warnings():
        # Archives write dates and units in non-standard ways.
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            wcs = WCS(header, hdus).celestial
        except (ValueError, KeyError):
            return None
    return wcs if wcs.naxis == 2 else None


def read_bricks(paths: RunPaths) -> pd.DataFrame:
    """Read a run's bricks: brick, region, ra, dec of their centres (degrees)."""
    return read_table(paths.bricks, "bricks", columns=["brick", "region", "ra", "dec"])
