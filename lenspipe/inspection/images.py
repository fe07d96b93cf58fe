"""Candidates of a run, and their cutouts as images for the browser."""

import functools
import io
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lenspipe.config.paths import RunPaths
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.residual import band_difference, residual_images
from lenspipe.products.candidates import read_candidates
from lenspipe.products.cutouts import open_cutouts, read_cutout, read_release
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name

__all__ = [
    "SHOWN",
    "Cutout",
    "Cutouts",
    "candidates_to_grade",
    "difference_name",
    "draw_colour",
    "draw_strip",
    "shown_bands",
]

_DEFAULT_BANDS = {3: "grz", 4: "griz"}

#: What the large image may be: in colour, after subtraction of a smooth model, or the difference of
#: two bands.
SHOWN = ("image", "residual", "difference")

# A single band in grey is darker than as one of three colours.
_GREY_GAIN = np.float32(2)


def candidates_to_grade(paths: RunPaths) -> pd.DataFrame:
    """Read a run's candidates for inspection.

    Returns
    -------
    pandas.DataFrame
        Indexed by id: name, ra, dec (degrees), brick, flags, known (bool), model (what the model
        says of itself), p_calibrated; empty where the run has no candidates (yet). All but the
        position and the brick are filled in where the file lacks them.

    Raises
    ------
    LenspipeError
        As in `lenspipe.products.candidates.read_candidates`; an id has a colon.
    """
    path = paths.candidates
    if path.exists():
        table = read_candidates(path)
    else:
        table = pd.DataFrame({"id": [], "brick": [], "ra": [], "dec": []})
        table = table.astype({"id": str, "brick": str})
    # The names of repeats and controls have a colon.
    if (bad := table["id"].str.contains(":")).any():
        raise LenspipeError(
            f"{path}: found an id with a colon ({table['id'][bad].iloc[0]!r}), expected ids of "
            "galaxies; make the candidates again"
        )
    if "name" not in table:
        prefix = read_release(map(paths.cutouts, table["brick"].unique())).name_prefix
        table["name"] = iau_name(table["ra"], table["dec"], prefix) if len(table) else ""
    defaults = {"flags": 0, "known": False, "model": "", "p_calibrated": np.nan}
    table = table.assign(**{name: v for name, v in defaults.items() if name not in table})
    names = ["name", "ra", "dec", "brick", *defaults]
    return table.set_index("id")[names]


@dataclass
class Cutout:
    """A cutout for inspection.

    Attributes
    ----------
    image
        Nanomaggies, float32, (B, S, S), row 0 in the south.
    bands
        The B bands.
    shape
        The galaxy's ``shape_e1`` and ``shape_e2``; NaN where the catalogue has none.
    """

    image: np.ndarray
    bands: str
    shape: tuple[float, ...]


class Cutouts:
    """Cutouts by the id of their galaxy, from files in the format of a run's cutouts; thread-safe.

    Parameters
    ----------
    max_files
        Number of files whose catalogue is cached.
    """

    def __init__(self, max_files: int = 2000) -> None:
        # CFITSIO shares internal tables between its files.
        self._lock = threading.Lock()
        self._catalogue = functools.lru_cache(max_files)(self._read_catalogue)

    def _read_catalogue(self, path: Path) -> tuple[dict[str, int], np.ndarray]:
        with open_cutouts(path) as hdus:
            columns = hdus["CATALOG"].get_colnames()
            optional = ["shape_e1", "shape_e2", "ra", "dec", "flags"]
            rows = hdus["CATALOG"].read(columns=["id", *(n for n in optional if n in columns)])
        ids = [text.decode() if isinstance(text, bytes) else str(text) for text in rows["id"]]
        return {id_.strip(): i for i, id_ in enumerate(ids)}, rows

    def rows(self, path: Path) -> tuple[dict[str, int], np.ndarray]:
        """Galaxies of a file.

        Returns
        -------
        places
            Id -> row.
        rows
            Structured array: id, and shape_e1, shape_e2, ra, dec, flags where available.
        """
        with self._lock:
            return self._catalogue(path)

    def read(self, path: Path, galaxy: str) -> Cutout:
        """Read a single cutout, given the galaxy's id.

        Raises
        ------
        LenspipeError
            The file is missing or damaged, or lacks the galaxy.
        """
        try:
            with self._lock, open_cutouts(path) as hdus:
                places, rows = self._catalogue(path)
                i = places[galaxy]
                image = read_cutout(hdus, i)
                header = hdus["IMAGE"].read_header()
        except KeyError:
            raise LenspipeError(
                f"{path}: found no galaxy {galaxy}; cut out this brick again"
            ) from None
        bands = str(header.get("BANDS", "")).strip() or _DEFAULT_BANDS.get(len(image), "")
        if len(bands) != len(image):
            raise LenspipeError(
                f"{path}: found {len(image)} bands, named {bands!r}; cut out this brick again"
            )
        return Cutout(image, bands, _shape(rows[i]))


def _shape(row: np.void) -> tuple[float, ...]:
    names = "shape_e1", "shape_e2"
    return tuple(float(row[n]) if n in (row.dtype.names or ()) else np.nan for n in names)


def draw_strip(
    cutout: Cutout, show: str = "image", stretch: str = "viewer", gain: float = 1.0
) -> bytes:
    """Draw a cutout as a PNG of images side by side: one of `SHOWN`, g, r, z, and the others.

    Parameters
    ----------
    show
        The first image; the others follow the single bands in their order. The bands are those of
        the residual if that comes first. A cutout of a single band has no difference.
    stretch
        As in `lenspipe.plotting.colour.STRETCHES`.
    gain
        Factor on all fluxes before the stretch.

    Returns
    -------
    bytes
        A PNG of S rows, North up and East left, S columns for each image, with the bands of
        `shown_bands`.
    """
    image = cutout.image * np.float32(gain)
    residual, bands = residual_images(image[None], [cutout.shape])[0], cutout.bands

    def grey(plane: np.ndarray, band: str) -> np.ndarray:
        return colour_images(_GREY_GAIN * plane[None, None], band, stretch)

    views = {
        "image": colour_images(image[None], bands, stretch),
        "residual": colour_images(residual[None], bands, stretch),
    }
    if difference_name(bands):
        blue, red = (bands.index(shown_bands(bands)[i]) for i in (0, -1))
        views["difference"] = grey(band_difference(image, blue, red), bands[blue])
    first = views.pop(show if show in views else "image")
    planes = residual if show == "residual" else image
    single = [grey(planes[bands.index(band)], band) for band in shown_bands(bands)]
    pictures = [first, *single, *views.values()]
    return _png(np.concatenate([picture[0] for picture in pictures], axis=1))


def draw_colour(image: np.ndarray, bands: str, stretch: str = "viewer", gain: float = 1.0) -> bytes:
    """Draw an image of any size, (B, S, S), in colour as a PNG, as the first of `draw_strip`."""
    return _png(colour_images(np.float32(gain) * image[None], bands, stretch)[0])


def _png(pixels: np.ndarray) -> bytes:
    """PNG of an image whose row 0 is the south."""
    file = io.BytesIO()
    Image.fromarray(pixels[::-1]).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shown_bands(bands: str) -> str:
    """Bands shown in grey: g, r, z where available, else the first three."""
    return "grz" if {"g", "r", "z"} <= set(bands) else bands[:3]


def difference_name(bands: str) -> str:
    """Name of the difference of the bluest and the reddest band shown; empty for a single band."""
    shown = shown_bands(bands)
    return f"{shown[0]}\u2212{shown[-1]}" if len(shown) > 1 else ""
