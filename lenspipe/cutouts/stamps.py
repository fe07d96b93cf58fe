"""Stamps: pixels around galaxies, from coadds or the cutout service, and what is wrong there."""

from dataclasses import dataclass

import numpy as np

from lenspipe.config.flags import FLAGS
from lenspipe.survey.coadds import read_geometry, read_stamps
from lenspipe.survey.service import fetch_stamps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import clip_boxes

__all__ = ["Stamps", "ask_service", "coadd_paths", "cut_stamps", "flag_stamps"]


@dataclass
class Stamps:
    """Pixels of N galaxies in B bands, as they come.

    Attributes
    ----------
    images, invvar : (N, B, size, size) float32 array
        NaN and 0 where there is nothing.
    masked : (N, size, size) bool array
        By the coadd of mask bits.
    inside : (N, size, size) bool array
        Whether a pixel is inside the coadd.
    present : (N, B) bool array
        Whether there is a coadd in the band.
    """

    images: np.ndarray
    invvar: np.ndarray
    masked: np.ndarray
    inside: np.ndarray
    present: np.ndarray


def coadd_paths(settings, brick, region):
    """Return the coadds that cutouts are made from, as a brick that has all would have them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick, region : str

    Returns
    -------
    dict
        (kind, band) -> path; the band of the mask bits is None.
    """
    survey = settings.survey_paths
    wanted = {
        (kind, band): survey.coadd(region, brick, kind, band)
        for band in settings.survey.bands
        if band in settings.release.bands_of_regions[region]
        for kind in ("image", "invvar")
    }
    if settings.release.maskbits:
        wanted["maskbits", None] = survey.coadd(region, brick, "maskbits")
    return wanted


def _empty_stamps(settings, number):
    bands, size = len(settings.survey.bands), settings.cutouts.size
    return Stamps(
        np.full((number, bands, size, size), np.nan, np.float32),
        np.zeros((number, bands, size, size), np.float32),
        np.zeros((number, size, size), bool),
        np.ones((number, size, size), bool),
        np.ones((number, bands), bool),
    )


def cut_stamps(settings, source, brick, region, parent):
    """Cut the stamps of a brick's galaxies out of its coadds.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    source : lenspipe.retrieval.local.LocalSource
        Or another, as from `lenspipe.retrieval.sources.open_source`.
    brick, region : str
    parent : pandas.DataFrame
        N rows with ``ra`` and ``dec`` (degrees).

    Returns
    -------
    Stamps

    Raises
    ------
    LenspipeError
        Coadds are missing, truncated or garbled.
    RetrievalError
        A server didn't give them.
    """
    wanted = coadd_paths(settings, brick, region)
    size, bands = settings.cutouts.size, settings.survey.bands
    stamps = _empty_stamps(settings, len(parent))
    if parent.empty:
        return stamps

    def boxes(wcs, shape):
        return clip_boxes(*_central_pixels(wcs, parent, size), size, shape)

    checksums = settings.survey_paths.checksums(region, brick)
    with source.coadds(wanted, boxes, checksums) as files:
        x = None
        for index, band in enumerate(bands):
            image, invvar = files.get(("image", band)), files.get(("invvar", band))
            if bool(image) != bool(invvar):
                absent = wanted["invvar" if image else "image", band]
                raise LenspipeError(f"{absent}: no such file beside the other; download it again")
            stamps.present[:, index] = image is not None
            if image is None:
                continue
            if x is None:
                wcs, shape = read_geometry(image)
                x, y = _central_pixels(wcs, parent, size)
                stamps.inside = _inside(x, y, size, boxes(wcs, shape))
            stamps.images[:, index] = read_stamps(image, x, y, size, np.nan)
            stamps.invvar[:, index] = read_stamps(invvar, x, y, size, 0)
        if x is None:
            folder = str(next(iter(wanted.values()))).rpartition("/")[0]
            raise LenspipeError(f"{folder}: no image in any band; download the brick's coadds")
        if settings.release.maskbits:
            if files["maskbits", None] is None:
                raise LenspipeError(f"{wanted['maskbits', None]}: no such file; download it")
            bits = read_stamps(files["maskbits", None], x, y, size, 0)
            stamps.masked = (bits.astype(np.int64) & _bad_bits(bands, settings.release)) != 0
    return stamps


def _inside(x, y, size, boxes):
    """Which pixels of stamps are inside the image, (N, size, size) bool."""
    x0, x1, y0, y1 = (edge[:, None] for edge in boxes.T)
    columns, rows = (pixel[:, None] - size // 2 + np.arange(size) for pixel in (x, y))
    in_x, in_y = (columns >= x0) & (columns < x1), (rows >= y0) & (rows < y1)
    return in_y[:, :, None] & in_x[:, None, :]


def ask_service(settings, brick, region, parent):
    """Get the stamps of a brick's galaxies from the cutout service, which gives no mask bits.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick, region : str
    parent : pandas.DataFrame
        N rows with ``ra`` and ``dec`` (degrees).

    Returns
    -------
    Stamps

    Raises
    ------
    RetrievalError
        The service didn't give them.
    """
    stamps = _empty_stamps(settings, len(parent))
    if parent.empty:
        return stamps
    ra, dec = parent.ra.to_numpy(), parent.dec.to_numpy()
    answer = fetch_stamps(settings, brick, region, ra, dec)
    stamps.images, stamps.invvar, stamps.inside = answer
    stamps.present = np.isfinite(stamps.images).any(axis=(2, 3))
    return stamps


def flag_stamps(settings, stamps):
    """Say what is wrong with stamps.

    A pixel counts as masked where the inverse variance of a band is not positive, or where the
    coadd of mask bits (releases from DR8 on) has BRIGHT, or SATUR or ALLMASK of a configured band.
    The masked fraction is of the stamp's pixels inside the coadd and over the bands that the brick
    has.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    stamps : Stamps

    Returns
    -------
    (N,) int32 array
        Bits of `FLAGS`.
    """
    size = settings.cutouts.size
    inside, present = stamps.inside, stamps.present[:, :, None, None]
    flags = np.zeros(len(inside), np.int32)
    flags[~stamps.present.all(axis=1)] |= FLAGS.MISSING_BAND
    flags[~inside.all(axis=(1, 2))] |= FLAGS.EDGE
    # Written so that a NaN is no exposure, too.
    unexposed = ~(stamps.invvar > 0) & present
    flags[unexposed[:, :, size // 2, size // 2].any(axis=1)] |= FLAGS.NO_EXPOSURE
    masked = (stamps.masked | unexposed.any(axis=1)) & inside
    fraction = masked.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1)
    flags[fraction > settings.cutouts.max_masked_fraction] |= FLAGS.MASKED
    unfinished = ~np.isfinite(stamps.images) & present & inside[:, None]
    flags[unfinished.any(axis=(1, 2, 3))] |= FLAGS.NONFINITE
    return flags


def _central_pixels(wcs, parent, size):
    """Columns and rows, from 0, of the pixels nearest to the galaxies; beyond any stamp if none."""
    x, y = wcs.all_world2pix(parent.ra.to_numpy(), parent.dec.to_numpy(), 0)
    pixels = np.floor(np.stack([x, y]) + 0.5)
    # A position off the projection's half of the sky has no pixel.
    return np.clip(np.nan_to_num(pixels, nan=-size), -size, 10**6).astype(int)


def _bad_bits(bands, release):
    names = [
        "BRIGHT",
        *(f"{kind}_{band.upper()}" for kind in ("SATUR", "ALLMASK") for band in bands),
    ]
    return release.mask(tuple(names))
