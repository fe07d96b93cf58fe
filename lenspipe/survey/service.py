"""Stamps from the sky viewer's cutout service, for positions too scattered to fetch bricks for.

The service is asked for sub-images: pixels of a brick's own coadds, untouched, which are those that
`lenspipe.cutouts.chunk` cuts out of the coadds' files. (Without ``subimage`` it answers with pixels
that it has interpolated onto a grid centred on the position, whose noise no network has been
trained on.) An answer has for each brick at the position and each band of it an HDU with the image
and one with its inverse variance, named in their headers BRICK, BAND and IMAGETYP; an empty primary
HDU comes first. The mask bits can't be had this way.

Source: https://github.com/legacysurvey/imagine (map/views.py, ``write_cutout``).
"""

import contextlib
import io
import tempfile
import time
import warnings
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from filelock import FileLock

from lenspipe.retrieval.http import HttpTransport
from lenspipe.retrieval.retry import patiently
from lenspipe.utils.errors import RetrievalError
from lenspipe.utils.progress import log

__all__ = ["PAUSE_S", "fetch_stamps", "read_answer"]

#: Least time between two requests, seconds. The service answers about one a second, however many
#: ask for it; all jobs that share a cache take turns.
PAUSE_S = 1.0

#: Pixels asked for beyond the stamp: the service rounds positions in a way of its own.
_MARGIN = 2

#: A line of the log for so many stamps.
_REPORT = 30

#: Keywords of the world coordinates.
_WCS_KEYS = [f"{key}{i}" for key in ("CTYPE", "CRVAL", "CRPIX") for i in (1, 2)]

_WCS_KEYS += [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]


def fetch_stamps(settings, brick, region, ra, dec, transport=None):
    """Fetch the stamps around some positions in a brick, one after the other.

    A stamp is centred on the pixel whose centre is nearest to the position, as
    `lenspipe.cutouts.chunk` cuts it.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick, region : str
        Whose coadds the pixels are of.
    ra, dec : (N,) array_like of float
        Degrees.
    transport : lenspipe.retrieval.http.HttpTransport, optional
        Connections to use; opened for this call if not given.

    Returns
    -------
    images : (N, B, size, size) float32 array
        Nanomaggies; NaN beyond the brick's coadd, and in all of a band that the brick lacks.
    invvar : (N, B, size, size) float32 array
        1 / nanomaggies squared; 0 in the same places.
    inside : (N, size, size) bool array
        Which pixels are within the coadd.

    Raises
    ------
    RetrievalError
        The service did not give a stamp, after all tries.
    """
    shape = len(settings.survey.bands), settings.cutouts.size, settings.cutouts.size
    images = np.full((len(ra), *shape), np.nan, np.float32)
    invvar = np.zeros((len(ra), *shape), np.float32)
    inside = np.zeros((len(ra), *shape[1:]), bool)
    cache = Path(settings.retrieval.cache)
    cache.mkdir(parents=True, exist_ok=True)
    own = contextlib.nullcontext(transport)
    if transport is None:
        transport = HttpTransport(settings.retrieval, cache / "hosts.json")
        own = contextlib.closing(transport)
    with own:
        for i, (a, d) in enumerate(_pairs(ra, dec)):
            if i % _REPORT == 0:
                log.info(
                    "brick %s: asking the service for stamp %d of %d", brick, i + 1, len(images)
                )
            # Whoever is asked to wait, waits for all; the lock goes with the process.
            with FileLock(cache / "service.lock"):
                url = _address(settings, region, a, d)
                ask = patiently(settings.retrieval)
                answer = ask(_ask, settings, transport, url, brick, a, d)
            images[i], invvar[i], inside[i] = answer
    return images, invvar, inside


def read_answer(body, url, brick, bands, ra, dec, size, release):
    """Read a stamp from an answer of the service.

    Parameters
    ----------
    body : bytes
    url : str
        Where it is from, for messages.
    brick : str
        The brick wanted; the service answers with all that overlap.
    bands : sequence of str
    ra, dec : float
        Degrees.
    size : int
        Side of the stamp, pixels; odd.
    release : Release

    Returns
    -------
    image, invvar : (B, size, size) float32 array
    inside : (size, size) bool array
        As of `fetch_stamps`.

    Raises
    ------
    RetrievalError
        No FITS file, or a damaged one (``transient``); one of other bricks, another position, scale
        or size, or without inverse variance.
    """
    planes = _planes(body, url, brick)
    if not planes:
        raise RetrievalError(f"{url}: found no image of brick {brick}", transient=False)
    images = np.full((len(bands), size, size), np.nan, np.float32)
    invvar = np.zeros((len(bands), size, size), np.float32)
    steps = np.arange(size) - size // 2
    centres, corners = set(), set()
    for index, band in enumerate(bands):
        if (band, "image") not in planes:
            continue
        for kind, target in (("image", images), ("invvar", invvar)):
            if (band, kind) not in planes:
                raise RetrievalError(
                    f"{url}: found no inverse variance in band {band} beside the image",
                    transient=False,
                )
            header, pixels = planes[band, kind]
            x, y = _central_pixel(url, header, ra, dec, release)
            left, bottom = int(header["BRICK_X0"]), int(header["BRICK_Y0"])
            centres.add((x + left, y + bottom))
            corners.add((left, bottom, *pixels.shape))
            columns, rows = x + steps, y + steps
            here_x = (columns >= 0) & (columns < pixels.shape[1])
            here_y = (rows >= 0) & (rows < pixels.shape[0])
            if not (here_x[size // 2] and here_y[size // 2]):
                raise RetrievalError(
                    f"{url}: found pixels of another position (ra {ra:.5f}, dec {dec:+.5f} is at "
                    f"x {x}, y {y} of {pixels.shape[1]} x {pixels.shape[0]})",
                    transient=False,
                )
            target[index][np.ix_(here_y, here_x)] = pixels[np.ix_(rows[here_y], columns[here_x])]
    if len(centres) > 1 or len(corners) > 1:
        raise RetrievalError(f"{url}: found bands with different positions", transient=False)
    if not centres:
        return images, invvar, np.ones((size, size), bool)
    ((x, y),), ((left, bottom, height, width),) = centres, corners
    in_x = (x + steps >= 0) & (x + steps < release.brick_pixels)
    in_y = (y + steps >= 0) & (y + steps < release.brick_pixels)
    here_x = (x + steps >= left) & (x + steps < left + width)
    here_y = (y + steps >= bottom) & (y + steps < bottom + height)
    if (in_x & ~here_x).any() or (in_y & ~here_y).any():
        raise RetrievalError(
            f"{url}: found {width} x {height} pixels, expected at least {size} x {size} around the "
            "position",
            transient=False,
        )
    return images, invvar, in_y[:, None] & in_x


def _pairs(ra, dec):
    return list(zip(np.asarray(ra, float).tolist(), np.asarray(dec, float).tolist(), strict=True))


def _address(settings, region, ra, dec):
    query = {
        "ra": f"{ra:.7f}",
        "dec": f"{dec:.7f}",
        "layer": settings.release.viewer_layer(region),
        "pixscale": settings.release.pixel_scale_arcsec,
        "bands": "".join(settings.survey.bands),
        "size": settings.cutouts.size + _MARGIN,
        "subimage": 1,
        "invvar": 1,
    }
    return f"{settings.survey.service.rstrip('/')}/cutout.fits?{urlencode(query)}"


def _ask(settings, transport, url, brick, ra, dec):
    """Ask once and read the answer; not sooner than the service should be asked again."""
    begin = time.monotonic()
    try:
        with tempfile.TemporaryFile() as file:
            transport.read_once(url, None, file.fileno())
            file.seek(0)
            body = file.read()
    finally:
        time.sleep(max(0.0, begin + PAUSE_S - time.monotonic()))
    bands, size = settings.survey.bands, settings.cutouts.size
    return read_answer(body, url, brick, bands, ra, dec, size, settings.release)


def _planes(body, url, brick):
    """Return header and pixels of a brick's images, by band and kind."""
    if not body.startswith(b"SIMPLE  ="):
        found = body[:40].decode("ascii", "replace").split("\n")[0]
        raise RetrievalError(f"{url}: found {found!r}, expected a FITS file", transient=True)
    planes = {}
    try:
        with warnings.catch_warnings():
            # Astropy only warns of a file that was cut short.
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(io.BytesIO(body)) as hdus:
                for hdu in hdus[1:]:
                    header = hdu.header
                    if str(header["BRICK"]).strip() == brick:
                        kind = str(header["IMAGETYP"]).strip(), str(header["BAND"]).strip()
                        planes[kind[::-1]] = header, np.asarray(hdu.data, np.float32)
    except KeyError as error:
        raise RetrievalError(
            f"{url}: found an image without {error.args[0]}, expected an answer of the cutout "
            "service; check config key survey.service",
            transient=False,
        ) from None
    except (OSError, ValueError, TypeError, AstropyUserWarning) as error:
        reason = str(error).splitlines()[0]
        raise RetrievalError(f"{url}: damaged FITS file ({reason})", transient=True) from None
    return planes


def _central_pixel(url, header, ra, dec, release):
    """Column and row, from 0, of the pixel whose centre is nearest to the position."""
    missing = [key for key in (*_WCS_KEYS, "BRICK_X0", "BRICK_Y0") if key not in header]
    if missing:
        raise RetrievalError(f"{url}: found no {missing[0]} in an image's header", transient=False)
    step = release.pixel_scale_arcsec / 3600
    scale = np.array([[header[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
    if not np.allclose(scale, [[-step, 0], [0, step]], rtol=1e-3, atol=1e-3 * step):
        raise RetrievalError(
            f"{url}: found pixels of {abs(scale[0, 0]) * 3600:.3f} arcsec, expected "
            f"{release.pixel_scale_arcsec}, north up",
            transient=False,
        )
    wcs = WCS(fits.Header({key: header[key] for key in _WCS_KEYS}))
    x, y = wcs.all_world2pix(ra, dec, 0)
    # A position off the projection's half of the sky has no pixel.
    pixels = np.nan_to_num(np.floor(np.array([x, y]) + 0.5), nan=-release.brick_pixels)
    return int(pixels[0]), int(pixels[1])
