"""What lies around a candidate, on request: a wider field of its brick, and other surveys."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import astropy.units as u
import numpy as np
import pandas as pd
import requests
from astropy.coordinates import Angle, Latitude, Longitude
from PIL import Image

from lenspipe.config.results import Inspection
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.inspection.images import Cutout, draw_colour
from lenspipe.products.tables import read_table
from lenspipe.retrieval.cache import Cache
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote

__all__ = ["Around", "OtherSurvey", "Place", "WideField"]

#: Side of the image of another survey, pixels.
_PIXELS = 400

#: Time for which a service that failed is not asked again, seconds.
_PAUSE_S = 60.0

#: What astroquery raises for a service that is away or answers with something else than an image.
_FAILURES = (requests.RequestException, OSError, ValueError, AttributeError, KeyError, TypeError)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an image of a list is: its brick, and ra and dec in degrees, NaN if unknown."""

    brick: str
    ra: float
    dec: float


@dataclasses.dataclass(frozen=True)
class WideField:
    """The survey around a candidate, as far as the coadds of its brick reach.

    Attributes
    ----------
    files
        Their section `cutouts` has the size of the field.
    cache
        Folder for what comes from a server.
    """

    files: CutoutFiles
    cache: Cache

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The field that the settings of a run describe."""
        files = CutoutFiles.of(settings)
        scale_arcsec = files.release.pixel_scale_arcsec
        size = 2 * round(settings.inspection.wide_arcsec / scale_arcsec / 2) + 1
        # A person waits for it: no second attempts.
        retrieval = settings.retrieval.model_copy(update={"attempts": 1})
        section = files.section.model_copy(update={"size": max(size, files.section.size)})
        files = dataclasses.replace(files, section=section, retrieval=retrieval)
        return cls(files, _cache(settings))

    @functools.cached_property
    def _regions(self) -> dict[str, str]:
        table = read_table(self.files.paths.bricks, "bricks", columns=["brick", "region"])
        return dict(zip(table["brick"], table["region"], strict=True))

    def read(self, place: Place, cutout: Cutout) -> np.ndarray:
        """Read the field with the cutout in its middle: nanomaggies, float32, (B, S, S).

        In the middle is the candidate's own cutout, since simulated arcs are not in the coadds.

        Raises
        ------
        LenspipeError
            The coadds cannot be read or fetched, or have other bands than the cutout.
        """
        files = self.files
        if place.brick not in self._regions:
            raise LenspipeError(
                f"{files.paths.bricks}: found no brick {place.brick or 'of this image'}; only "
                "what lies in a brick of the run has a wider field"
            )
        if "".join(files.bands) != cutout.bands:
            raise LenspipeError(
                f"found cutouts in {cutout.bands}, expected {''.join(files.bands)} as in config "
                "key survey.bands"
            )
        tree = files.survey_paths.tree
        if is_remote(tree) or files.section.source == "service":
            name = f"{tree}/{place.brick}/{place.ra:.7f}{place.dec:+.7f}-{cutout.bands}"
            name += f"-{files.section.size}.npy"
            with self.cache.get(name, lambda path: self._save(path, place)) as path:
                field = np.load(path)
        else:
            field = self._cut(place)
        own, size = cutout.image, files.section.size
        first = (size - own.shape[-1]) // 2
        middle = slice(first, first + own.shape[-1])
        field[:, middle, middle] = own
        return field

    def _cut(self, place: Place) -> np.ndarray:
        position = pd.DataFrame({"ra": [place.ra], "dec": [place.dec]})
        with self.files.open_stamps() as source:
            return source.read(place.brick, self._regions[place.brick], position).images[0]

    def _save(self, path: Path, place: Place) -> None:
        with open(path, "wb") as file:
            np.save(file, self._cut(place))


class OtherSurvey:
    """Images of another survey, which a service cuts out of its HiPS.

    The service is that of the CDS (hips2fits), asked by astroquery. Each image is kept on the disk,
    also that there is none. A service that failed is left alone for a minute.
    """

    def __init__(self, name: str, hips: str, section: Inspection, cache: Cache) -> None:
        self.name, self.hips, self.section, self.cache = name, hips, section, cache
        self._failure, self._failed_at = "", -np.inf

    def read(self, ra: float, dec: float, side_arcsec: float) -> bytes:
        """Return an image as a PNG, North up and East left.

        Raises
        ------
        LenspipeError
            The service has no image of this place, cannot be asked, or fails.
        """
        query = {"hips": self.hips, "ra": f"{ra:.6f}", "dec": f"{dec:.6f}"}
        query |= {"side": f"{side_arcsec:.2f}", "pixels": str(_PIXELS)}
        name = f"{self.section.hips_server}?{urlencode(query)}"
        with self.cache.get(name, lambda path: self._save(path, ra, dec, side_arcsec)) as path:
            image = path.read_bytes()
        if not image:
            raise LenspipeError(f"{self.name} has no image of this place.")
        return image

    def _save(self, path: Path, ra: float, dec: float, side_arcsec: float) -> None:
        """Fetch an image; the file is empty if all pixels are the same, as outside the survey."""
        if time.monotonic() - self._failed_at < _PAUSE_S:
            raise LenspipeError(self._failure)
        try:
            pixels = self._fetch(ra, dec, side_arcsec)
            if pixels.ndim not in (2, 3) or pixels.shape[:2] != (_PIXELS, _PIXELS):
                raise ValueError(f"found an image of shape {pixels.shape}")
        except _FAILURES as error:
            reason = self._reason(error)
            self._failure = f"{self.name}: no image from the service for now ({reason})."
            self._failed_at = time.monotonic()
            raise LenspipeError(self._failure) from None
        colours = pixels[..., :3].reshape(_PIXELS**2, -1)
        with open(path, "wb") as file:
            if (colours != colours[0]).any():
                Image.fromarray(pixels).convert("RGB").save(file, "PNG")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, requests.Timeout):
            return f"no answer in {self.section.timeout_s:g} s"
        if isinstance(error, requests.ConnectionError):
            return "it cannot be reached"
        return next(iter(str(error).strip().splitlines()), type(error).__name__)[:80]

    def _fetch(self, ra: float, dec: float, side_arcsec: float) -> np.ndarray:
        try:
            from astroquery.hips2fits import hips2fitsClass
        except ModuleNotFoundError as error:
            raise LenspipeError(
                f"{error.name}: not installed; images of other surveys need it: "
                "pip install 'lenspipe[surveys]'"
            ) from None
        service = hips2fitsClass()
        service.server, service.timeout = self.section.hips_server, self.section.timeout_s
        return service.query(
            hips=self.hips,
            width=_PIXELS,
            height=_PIXELS,
            projection="TAN",
            ra=Longitude(ra * u.deg),
            dec=Latitude(dec * u.deg),
            fov=Angle(side_arcsec * u.arcsec),
            format="png",
        )


@dataclasses.dataclass(frozen=True)
class Around:
    """The panels around a candidate, in their order.

    Attributes
    ----------
    side_arcsec
        Of a cutout, and of the images of other surveys.
    timeout_s
        Time after which the page is told that a panel is not there.
    """

    wide: WideField
    surveys: Sequence[OtherSurvey]
    side_arcsec: float
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The panels that the settings of a run describe; a simulated sky is in no survey."""
        section, cache = settings.inspection, _cache(settings)
        names = {} if settings.paths.sky_manifest.exists() else section.surveys
        surveys = [OtherSurvey(name, hips, section, cache) for name, hips in names.items()]
        side_arcsec = CutoutFiles.of(settings).side_arcsec
        return cls(WideField.of(settings), surveys, side_arcsec, section.timeout_s)

    def panels(self) -> list[dict[str, object]]:
        """Title of each panel, its side, and that of the cutout in it (arcsec)."""
        files = self.wide.files
        wide = {"title": f"{files.side_arcsec / 60:.2g}′ field", "side": files.side_arcsec}
        others = [{"title": survey.name, "side": self.side_arcsec} for survey in self.surveys]
        return [panel | {"cutout": self.side_arcsec} for panel in (wide, *others)]

    def draw(self, panel: int, place: Place, cutout: Cutout, stretch: str, gain: float) -> bytes:
        """Draw a panel as a PNG; stretch and gain are those of the wider field.

        Raises
        ------
        LenspipeError
            There is no such image, in a line for the grader.
        """
        if np.isnan(place.ra):
            raise LenspipeError("The position of this image is not known.")
        if panel:
            return self.surveys[panel - 1].read(place.ra, place.dec, self.side_arcsec)
        return draw_colour(self.wide.read(place, cutout), cutout.bands, stretch, gain)


def _cache(settings: Settings) -> Cache:
    return Cache(settings.retrieval.cache, 1e9 * settings.retrieval.cache_gb)
