"""Stamps from the sky viewer's cutout service, for positions too scattered to fetch bricks for.

The service is asked for sub-images: unchanged pixels of a brick's own coadds, which are those that
`lenspipe.cutouts.brick` cuts out of the coadds' files. (Without ``subimage`` it answers with pixels
interpolated onto a grid centred on the position, whose noise no network has been trained on.) An
answer holds, for each brick at the position and each band of it, an HDU with the image and one with
its inverse variance, named in their headers BRICK, BAND and IMAGETYP; an empty primary HDU comes
first. The service does not offer the mask bits.

Source: https://github.com/legacysurvey/imagine (map/views.py, ``write_cutout``).
"""

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from lenspipe.config.data import Retrieval
from lenspipe.config.surveys.base import Release
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.retrieval.http import HttpTransport
from lenspipe.retrieval.retry import retrying
from lenspipe.utils.errors import RetrievalError
from lenspipe.utils.files import room_to_write
from lenspipe.utils.progress import log

__all__ = ["PAUSE_S", "CutoutService", "read_answer"]

#: Minimum time between two requests of all jobs that share a cache, seconds. The service was seen
#: to answer all of 0.60 to 0.67 requests a second; the pause grows when it says they are too many.
PAUSE_S = 1.6

#: Answers, with status 200, that no later request changes.
_REFUSALS = ("no such layer", "no cutouts enabled")

#: Pixels requested beyond the stamp, since the service may round positions differently.
_MARGIN = 2

#: Number of stamps per line of the log.
_REPORT = 30

#: Keywords of the world coordinates.
_WCS_KEYS = [f"{key}{i}" for key in ("CTYPE", "CRVAL", "CRPIX") for i in (1, 2)]

_WCS_KEYS += [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]


@dataclass(frozen=True)
class CutoutService:
    """The cutout service, asked for stamps of one kind.

    Attributes
    ----------
    address
    release
    bands
    size
        Side of a stamp, pixels; odd.
    retrieval
    """

    address: str
    release: Release
    bands: tuple[str, ...]
    size: int
    retrieval: Retrieval

    def fetch_stamps(
        self, brick: str, region: str, ra: ArrayLike, dec: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fetch the stamps around positions in a brick, one after the other.

        A stamp is centred on the pixel whose centre is nearest to the position, as in
        `lenspipe.cutouts.brick`.

        Parameters
        ----------
        brick, region
            Of the coadds.
        ra, dec
            (N,) arrays, degrees.

        Returns
        -------
        images
            (N, B, size, size) float32 array, nanomaggies; NaN beyond the brick's coadd, and
            everywhere in a band that the brick lacks.
        invvar
            (N, B, size, size) float32 array, 1 / nanomaggies squared; 0 in the same places.
        inside
            (N, size, size) bool array: whether a pixel is within the coadd.

        Raises
        ------
        RetrievalError
            The service did not deliver a stamp after all retries.
        """
        positions = list(
            zip(np.asarray(ra, float).tolist(), np.asarray(dec, float).tolist(), strict=True)
        )
        shape = len(self.bands), self.size, self.size
        images = np.full((len(positions), *shape), np.nan, np.float32)
        invvar = np.zeros((len(positions), *shape), np.float32)
        inside = np.zeros((len(positions), *shape[1:]), bool)
        hosts = Path(self.retrieval.cache) / "hosts.json"
        transport = HttpTransport(self.retrieval, hosts, PAUSE_S)
        with contextlib.closing(transport):
            for i, position in enumerate(positions):
                if i % _REPORT == 0:
                    log.info(
                        "brick %s: requesting stamp %d of %d from the cutout service",
                        *(brick, i + 1, len(positions)),
                    )
                ask = retrying(self.retrieval)
                answer = ask(self._ask, transport, brick, region, *position)
                images[i], invvar[i], inside[i] = answer
        return images, invvar, inside

    def _url(self, region: str, ra: float, dec: float) -> str:
        query = {
            "ra": f"{ra:.7f}",
            "dec": f"{dec:.7f}",
            "layer": self.release.viewer_layer(region),
            "pixscale": self.release.pixel_scale_arcsec,
            "bands": "".join(self.bands),
            "size": self.size + _MARGIN,
            "subimage": 1,
            "invvar": 1,
        }
        return f"{self.address.rstrip('/')}/cutout.fits?{urlencode(query)}"

    def _ask(
        self, transport: HttpTransport, brick: str, region: str, ra: float, dec: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ask once and read the answer."""
        url = self._url(region, ra, dec)
        asked_at = time.time()
        folder = f"{tempfile.gettempdir()} (TMPDIR)"
        with room_to_write(folder), tempfile.TemporaryFile() as file:
            transport.read_once(url, file.fileno())
            file.seek(0)
            body = file.read()
        try:
            return read_answer(body, url, brick, self.bands, ra, dec, self.size, self.release)
        except UnavailableError as error:
            transport.hosts.note_failure(url, error, asked_at)
            raise


def read_answer(
    body: bytes,
    url: str,
    brick: str,
    bands: Sequence[str],
    ra: float,
    dec: float,
    size: int,
    release: Release,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a stamp from an answer of the service.

    Parameters
    ----------
    url
        For error messages.
    brick
        The requested brick; the service answers with all that overlap.
    ra, dec
        Degrees.
    size
        Side of the stamp, pixels; odd.

    Returns
    -------
    image, invvar, inside
        One of each of the stamps returned by `CutoutService.fetch_stamps`.

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
            has_x = (columns >= 0) & (columns < pixels.shape[1])
            has_y = (rows >= 0) & (rows < pixels.shape[0])
            if not (has_x[size // 2] and has_y[size // 2]):
                raise RetrievalError(
                    f"{url}: found pixels of another position (ra {ra:.5f}, dec {dec:+.5f} is at "
                    f"x {x}, y {y} of {pixels.shape[1]} x {pixels.shape[0]})",
                    transient=False,
                )
            target[index][np.ix_(has_y, has_x)] = pixels[np.ix_(rows[has_y], columns[has_x])]
    if len(centres) > 1 or len(corners) > 1:
        raise RetrievalError(f"{url}: found bands with different positions", transient=False)
    if not centres:
        return images, invvar, np.ones((size, size), bool)
    ((x, y),), ((left, bottom, height, width),) = centres, corners
    in_x = (x + steps >= 0) & (x + steps < release.brick_pixels)
    in_y = (y + steps >= 0) & (y + steps < release.brick_pixels)
    has_x = (x + steps >= left) & (x + steps < left + width)
    has_y = (y + steps >= bottom) & (y + steps < bottom + height)
    if (in_x & ~has_x).any() or (in_y & ~has_y).any():
        raise RetrievalError(
            f"{url}: found {width} x {height} pixels, expected at least {size} x {size} around the "
            "position",
            transient=False,
        )
    return images, invvar, in_y[:, None] & in_x


def _planes(
    body: bytes, url: str, brick: str
) -> dict[tuple[str, str], tuple[fits.Header, np.ndarray]]:
    """Return header and pixels of a brick's images, by band and type."""
    if not body.startswith(b"SIMPLE  ="):
        text = " ".join(body[:200].decode("ascii", "replace").split())
        if any(refusal in text.lower() for refusal in _REFUSALS):
            raise RetrievalError(
                f"{url}: the service answers {text!r}; check config keys survey.service and "
                "survey.release",
                transient=False,
            )
        raise UnavailableError(f"{url}: found {text[:60]!r}, expected a FITS file")
    planes = {}
    try:
        with warnings.catch_warnings():
            # Astropy only warns about a truncated file.
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(io.BytesIO(body)) as hdus:
                for hdu in hdus[1:]:
                    header = hdu.header
                    if str(header["BRICK"]).strip() == brick:
                        key = str(header["BAND"]).strip(), str(header["IMAGETYP"]).strip()
                        planes[key] = header, np.asarray(hdu.data, np.float32)
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


def _central_pixel(
    url: str, header: fits.Header, ra: float, dec: float, release: Release
) -> tuple[int, int]:
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
