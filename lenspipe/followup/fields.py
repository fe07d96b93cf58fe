"""Images of a piece of sky, whatever they come from, on one grid with North up and East left."""

import contextlib
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from scipy.ndimage import map_coordinates

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.products.tables import read_table
from lenspipe.survey.bricks import BRICK_DEG, brick_wcs
from lenspipe.survey.coadds import read_geometry, read_stamps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import clip_boxes

__all__ = ["Field", "FitsImage", "SkyImage", "Survey", "read_bricks", "resample", "stamp_image"]

# Pixels around a section, so that interpolation at its rim is that of the whole image.
_RIM = 8


@dataclass(frozen=True)
class Field:
    """A square piece of sky, in a tangent plane with North up and East left.

    Attributes
    ----------
    ra, dec : float
        Centre, degrees.
    side_arcsec : float
    pixels : int
        Along a side.
    """

    ra: float
    dec: float
    side_arcsec: float
    pixels: int

    @property
    def wcs(self):
        """World coordinates, `astropy.wcs.WCS`."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [(self.pixels + 1) / 2] * 2
        scale = self.side_arcsec / self.pixels / 3600
        wcs.wcs.cd = [[-scale, 0], [0, scale]]
        return wcs

    def pixels_in(self, wcs):
        """Column and row, from 0, in another image of each pixel here; NaN where there is none."""
        rows, columns = np.indices((self.pixels, self.pixels))
        sky = self.wcs.all_pix2world(columns.ravel(), rows.ravel(), 0)
        x, y = wcs.all_world2pix(*sky, 0, quiet=True)
        return x.reshape(rows.shape), y.reshape(rows.shape)


@dataclass(frozen=True)
class SkyImage:
    """Pixels with world coordinates.

    Attributes
    ----------
    pixels : (B, H, W) float array
        NaN where there is no data.
    wcs : astropy.wcs.WCS
    """

    pixels: np.ndarray
    wcs: WCS


def resample(image, field, order=3):
    """Bring an image onto the grid of a field.

    Parameters
    ----------
    image : SkyImage
    field : Field
    order : int
        Of the splines in between: 1 where pixels may jump, such as at masked stars.

    Returns
    -------
    (B, S, S) float32 array
        Surface brightness as it was; NaN where the image has no data.
    """
    x, y = field.pixels_in(image.wcs)
    where = [np.nan_to_num(y, nan=-1e6), np.nan_to_num(x, nan=-1e6)]
    result = np.empty((len(image.pixels), *x.shape), np.float32)
    for band, pixels in zip(result, image.pixels, strict=True):
        finite = np.isfinite(pixels)
        filled = np.where(finite, pixels, 0).astype(np.float32)
        band[:] = map_coordinates(filled, where, order=order, mode="nearest")
        inside = map_coordinates(finite.astype(np.uint8), where, order=0, mode="grid-constant")
        band[inside == 0] = np.nan
    return result


def stamp_image(stamp, ra, dec, brick):
    """Give a cutout of a run its world coordinates.

    Parameters
    ----------
    stamp : (B, S, S) array
        Nanomaggies.
    ra, dec : float
        Of the galaxy, degrees; the cutout's middle is the brick's pixel nearest to it.
    brick : mapping
        Centre of the brick: ra, dec.

    Returns
    -------
    SkyImage
    """
    wcs = brick_wcs(brick["ra"], brick["dec"])
    x, y = (int(np.floor(pixel + 0.5)) for pixel in wcs.all_world2pix(ra, dec, 0))
    return SkyImage(stamp, _moved(wcs, x - stamp.shape[-1] // 2, y - stamp.shape[-1] // 2))


def _moved(wcs, left, bottom):
    """World coordinates of a section of a coadd, which may begin outside it."""
    wcs = wcs.deepcopy()
    wcs.wcs.crpix -= [left, bottom]
    return wcs


class Survey:
    """Coadds of the survey around positions.

    Parameters
    ----------
    paths : lenspipe.config.paths.SurveyPaths
    source : lenspipe.retrieval.local.LocalSource
        Or another, as from `lenspipe.retrieval.sources.open_source`.
    bricks : pandas.DataFrame
        Those of the run: brick, region, ra, dec (degrees).
    """

    def __init__(self, paths, source, bricks):
        self.paths, self.source, self.bricks = paths, source, bricks

    def show(self, field, bands, order=3):
        """Return the coadds of all bricks of the run that reach into a field, on its grid.

        Parameters
        ----------
        field : Field
        bands : sequence of str
        order : int
            As of `resample`.

        Returns
        -------
        (B, S, S) float32 array
            Nanomaggies; NaN where no brick has data.

        Raises
        ------
        LenspipeError
            A coadd can't be read or fetched.
        """
        result = np.full((len(bands), field.pixels, field.pixels), np.nan, np.float32)
        for brick in self._near(field).itertuples():
            for band, shown in zip(bands, result, strict=True):
                if np.isnan(shown).any():
                    part = self._section(brick, band, field, order)
                    shown[:] = np.where(np.isnan(shown), part, shown)
        return result

    def _near(self, field):
        reach = BRICK_DEG / 2 + field.side_arcsec / 3600 / 2
        north = np.abs(self.bricks["dec"] - field.dec)
        east = np.abs((self.bricks["ra"] - field.ra + 180) % 360 - 180)
        east = east * np.cos(np.deg2rad(field.dec))
        bricks = self.bricks.assign(distance=np.hypot(north, east))
        return bricks[(north < reach) & (east < reach)].sort_values(["distance", "brick"])

    def _section(self, brick, band, field, order):
        # A little more than the field, which may be turned; odd, as stamps are.
        side = int(1.05 * field.side_arcsec / PIXEL_SCALE_ARCSEC) + 2 * _RIM
        side += side % 2 == 0

        def middle(wcs):
            x, y = wcs.all_world2pix([field.ra], [field.dec], 0)
            return np.rint(x).astype(int), np.rint(y).astype(int)

        def boxes(wcs, shape):
            return clip_boxes(*middle(wcs), side, shape)

        wanted = {band: self.paths.coadd(brick.region, brick.brick, "image", band)}
        checksums = self.paths.checksums(brick.region, brick.brick)
        with self.source.coadds(wanted, boxes, checksums) as files:
            file = files[band]
            if file is None:
                return np.full((field.pixels, field.pixels), np.nan, np.float32)
            wcs, _ = read_geometry(file)
            (x,), (y,) = middle(wcs)
            stamp = read_stamps(file, np.array([x]), np.array([y]), side, np.nan)
        image = SkyImage(stamp, _moved(wcs, x - side // 2, y - side // 2))
        return resample(image, field, order)[0]


class FitsImage:
    """An image of any origin in a FITS file: its first one with celestial coordinates.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    LenspipeError
        No such file, or no such image in it.
    """

    def __init__(self, path):
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
                    "alike), expected one; give another --image"
                )

    @property
    def scale_arcsec(self):
        """Side of a pixel, arcsec."""
        return float(np.sqrt(self.wcs.proj_plane_pixel_area().to_value("arcsec2")))

    @contextlib.contextmanager
    def _open(self):
        try:
            with fits.open(self.path) as hdus:
                yield hdus
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise LenspipeError(
                f"{self.path}: not a readable FITS file ({reason}); give another --image"
            ) from None

    def show(self, field):
        """Return the image on the grid of a field.

        Parameters
        ----------
        field : Field

        Returns
        -------
        (S, S) float32 array or None
            NaN where there is no data; None where there is none at all.
        """
        x, y = field.pixels_in(self.wcs)
        if not np.isfinite(x).any():
            return None
        bounds = []
        for pixels, size in zip((y, x), self.shape, strict=True):
            low, high = np.nanmin(pixels) - _RIM, np.nanmax(pixels) + _RIM
            bounds.append((int(np.clip(low, 0, size)), int(np.clip(high + 1, 0, size))))
        (bottom, top), (left, right) = bounds
        if bottom == top or left == right:
            return None
        with self._open() as hdus:
            hdu = hdus[self.number]
            leading = (0,) * (len(hdu.shape) - 2)
            pixels = np.array(hdu.section[(*leading, slice(bottom, top), slice(left, right))])
        pixels = pixels.astype(np.float32)
        # Exact zeros are what drizzled images have where no exposure reaches.
        pixels[pixels == 0] = np.nan
        section = SkyImage(pixels[None], self.wcs[bottom:top, left:right])
        shown = resample(section, field, order=1)[0]
        return shown if np.isfinite(shown).any() else None


def _celestial(header, hdus):
    """World coordinates of an image, None if it has none on the sky."""
    with warnings.catch_warnings():
        # Dates and units as archives write them.
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            wcs = WCS(header, hdus).celestial
        except (ValueError, KeyError):
            return None
    return wcs if wcs.naxis == 2 else None


def read_bricks(paths):
    """Read a run's bricks: brick, region, ra, dec of their centres (degrees)."""
    return read_table(paths.bricks, "bricks", columns=["brick", "region", "ra", "dec"])
