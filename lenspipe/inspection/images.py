"""Candidates of a run, and their cutouts as images for the browser."""

import functools
import io
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.table import Table
from PIL import Image

from lenspipe.config.paths import RunPaths
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.residual import residual_images
from lenspipe.products.cutouts import open_cutouts, read_release
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name

__all__ = ["Cutout", "Cutouts", "draw_strip", "read_candidates", "shown_bands"]

_BRICK = re.compile(r"\d{4}[pm]\d{3}", re.ASCII)

_DEFAULT_BANDS = {3: "grz", 4: "griz"}

# A single band in grey is darker than as one of three colours.
_GREY_GAIN = np.float32(2)

_NEEDED = ("id", "ra", "dec", "brick")


def read_candidates(paths: RunPaths) -> pd.DataFrame:
    """Read a run's candidates for inspection.

    Returns
    -------
    pandas.DataFrame
        Indexed by id: name, ra, dec (degrees), brick, flags, known (bool); empty where the run has
        no candidates (yet). Name, flags and known are filled in where the file lacks them.

    Raises
    ------
    LenspipeError
        The file lacks a column, has a duplicate id, or an invalid brick name.
    """
    path = paths.candidates
    if not path.exists():
        table = Table({"id": np.zeros(0, "U1"), "brick": np.zeros(0, "U1"), "ra": [], "dec": []})
    else:
        try:
            table = Table.read(path, format="fits", character_as_bytes=False)
        except (OSError, ValueError) as error:
            raise LenspipeError(
                f"{path}: not a readable table ({error}); make the candidates again"
            ) from None
    if missing := [name for name in _NEEDED if name not in table.colnames]:
        raise LenspipeError(
            f"{path}: found no column {', '.join(missing)}, expected {', '.join(_NEEDED)}; make "
            "the candidates again"
        )
    if "rank" in table.colnames and len(table):
        table = table[np.asarray(table["rank"]) > 0]  # 0: a hidden known lens
    names = [n for n in (*_NEEDED, "name", "flags", "known") if n in table.colnames]
    table = table[names].to_pandas()
    table["id"], table["brick"] = table["id"].astype(str), table["brick"].astype(str)
    for problem, bad in (
        ("a duplicate id", table["id"].duplicated()),
        ("an invalid brick", ~table["brick"].str.fullmatch(_BRICK)),
        # The names of repeats and controls have a colon.
        ("an id with a colon", table["id"].str.contains(":")),
    ):
        if bad.any():
            row = table[bad].iloc[0]
            raise LenspipeError(
                f"{path}: found {problem} ({row['id']!r}, brick {row['brick']!r}), expected ids of "
                "galaxies and names of bricks; make the candidates again"
            )
    if "name" not in table:
        prefix = read_release(map(paths.cutouts, table["brick"].unique())).name_prefix
        table["name"] = iau_name(table["ra"], table["dec"], prefix) if len(table) else ""
    table = table.assign(**{n: v for n, v in (("flags", 0), ("known", False)) if n not in table})
    return table.set_index("id")


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
                image = hdus["IMAGE"][i : i + 1, :, :, :][0].astype(np.float32)
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
    cutout: Cutout, residual: bool = False, stretch: str = "viewer", gain: float = 1.0
) -> bytes:
    """Draw a cutout as a PNG of images side by side: in colour, g, r, z, the residual in colour.

    Parameters
    ----------
    residual
        Whether image and residual are swapped; the single bands are those of the first.
    stretch : {'viewer', 'lupton'}
    gain
        Factor on all fluxes before the stretch.

    Returns
    -------
    bytes
        A PNG of S rows, North up and East left, S columns for each image, with the bands of
        `shown_bands`.
    """
    image = cutout.image * np.float32(gain)
    shown, other = image, residual_images(image[None], [cutout.shape])[0]
    if residual:
        shown, other = other, shown
    pictures = [colour_images(shown[None], cutout.bands, stretch)]
    for band in shown_bands(cutout.bands):
        i = cutout.bands.index(band)
        pictures.append(colour_images(_GREY_GAIN * shown[None, i : i + 1], band, stretch))
    pictures.append(colour_images(other[None], cutout.bands, stretch))
    strip = np.concatenate([picture[0, ::-1] for picture in pictures], axis=1)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shown_bands(bands: str) -> str:
    """Bands shown in grey: g, r, z where available, else the first three."""
    return "grz" if {"g", "r", "z"} <= set(bands) else bands[:3]
