"""Candidates of a run, and their cutouts as pictures for the browser."""

import functools
import io
import re
import threading
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from PIL import Image

from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.residual import residual_images
from lenspipe.products.files import require
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_fits
from lenspipe.utils.names import iau_name

__all__ = ["Cutout", "Cutouts", "draw_strip", "read_candidates", "shown_bands"]

_BRICK = re.compile(r"\d{4}[pm]\d{3}", re.ASCII)

_USUAL_BANDS = {3: "grz", 4: "griz"}

#: One band in grey is darker than it is as one of three colours.
_GREY_GAIN = np.float32(2)

_NEEDED = ("id", "ra", "dec", "brick")


def read_candidates(paths):
    """Read a run's candidates for inspection.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths

    Returns
    -------
    pandas.DataFrame
        By id: name, ra, dec (degrees), brick, flags, known (bool); empty where the run has no
        candidates, or not yet. Columns that the file lacks but for the first four are filled in.

    Raises
    ------
    LenspipeError
        The file lacks a column, has an id twice, or a name of a brick that is none.
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
        table = table[np.asarray(table["rank"]) > 0]  # 0: a known lens that is hidden
    names = [n for n in (*_NEEDED, "name", "flags", "known") if n in table.colnames]
    table = table[names].to_pandas()
    table["id"], table["brick"] = table["id"].astype(str), table["brick"].astype(str)
    for what, bad in (
        ("an id twice", table["id"].duplicated()),
        ("a brick that is none", ~table["brick"].str.fullmatch(_BRICK)),
        # What is slipped in has a colon in its name.
        ("an id with a colon", table["id"].str.contains(":")),
    ):
        if bad.any():
            row = table[bad].iloc[0]
            raise LenspipeError(
                f"{path}: found {what} ({row['id']!r}, brick {row['brick']!r}), expected ids of "
                "galaxies and names of bricks; make the candidates again"
            )
    if "name" not in table:
        table["name"] = iau_name(table["ra"], table["dec"]) if len(table) else ""
    table = table.assign(**{n: v for n, v in (("flags", 0), ("known", False)) if n not in table})
    return table.set_index("id")


@dataclass
class Cutout:
    """A cutout to look at.

    Attributes
    ----------
    image : (B, S, S) float32 array
        Nanomaggies, row 0 in the south.
    bands : str
        The B bands.
    shape : tuple of float
        The galaxy's ``shape_e1`` and ``shape_e2``; NaN where the catalogue has none.
    release : str
        Data release; empty where the file does not say.
    """

    image: np.ndarray
    bands: str
    shape: tuple
    release: str


class Cutouts:
    """Cutouts by the name of their galaxy, out of files of a run's kind; safe between threads.

    Parameters
    ----------
    most_files : int
        Files whose catalogue is kept in mind.
    """

    def __init__(self, most_files=2000):
        # CFITSIO shares tables between its files.
        self._lock = threading.Lock()
        self.catalogue = functools.lru_cache(most_files)(self._read_catalogue)

    def _read_catalogue(self, path):
        """Galaxies of a file: id -> row, and the rows' shapes."""
        with open_fits(path) as hdus:
            columns = hdus["CATALOG"].get_colnames()
            wanted = ["shape_e1", "shape_e2", "ra", "dec", "flags"]
            rows = hdus["CATALOG"].read(columns=["id", *(n for n in wanted if n in columns)])
        ids = [text.decode() if isinstance(text, bytes) else str(text) for text in rows["id"]]
        return {id_.strip(): i for i, id_ in enumerate(ids)}, rows

    def rows(self, path):
        """Galaxies of a file.

        Parameters
        ----------
        path : pathlib.Path

        Returns
        -------
        places : dict
            Id -> row.
        rows : numpy.ndarray
            Structured: id, and what there is of shape_e1, shape_e2, ra, dec, flags.
        """
        with self._lock:
            return self.catalogue(path)

    def read(self, path, galaxy):
        """Read one cutout, and no other of its file.

        Parameters
        ----------
        path : pathlib.Path
        galaxy : str
            Its id.

        Returns
        -------
        Cutout

        Raises
        ------
        LenspipeError
            The file is missing or damaged, or lacks the galaxy.
        """
        require(path, "cutouts")
        try:
            with self._lock, open_fits(path) as hdus:
                places, rows = self.catalogue(path)
                i = places[galaxy]
                image = hdus["IMAGE"][i : i + 1, :, :, :][0].astype(np.float32)
                header = hdus["IMAGE"].read_header()
        except KeyError:
            raise LenspipeError(
                f"{path}: found no galaxy {galaxy}; cut out this brick again"
            ) from None
        bands = str(header.get("BANDS", "")).strip() or _USUAL_BANDS.get(len(image), "")
        if len(bands) != len(image):
            raise LenspipeError(
                f"{path}: found {len(image)} bands, called {bands!r}; cut out this brick again"
            )
        release = str(header.get("RELEASE", "")).strip()
        return Cutout(image, bands, _shape(rows[i]), release)


def _shape(row):
    names = "shape_e1", "shape_e2"
    return tuple(float(row[n]) if n in row.dtype.names else np.nan for n in names)


def draw_strip(cutout, residual=False, stretch="viewer", gain=1.0):
    """Draw a cutout as a PNG of pictures side by side: in colour, g, r, z, the residual in colour.

    Parameters
    ----------
    cutout : Cutout
    residual : bool
        Whether image and residual change places; the bands are of the first.
    stretch : {'viewer', 'lupton'}
    gain : float
        Factor on all fluxes before the stretch.

    Returns
    -------
    bytes
        A PNG of S rows, North up and East left, S columns for each picture. `shown_bands` says
        which bands there are.
    """
    image = cutout.image * np.float32(gain)
    shown, other = image, residual_images(image[None], [cutout.shape])[0]
    if residual:
        shown, other = other, shown
    parts = [colour_images(shown[None], cutout.bands, stretch)]
    for band in shown_bands(cutout.bands):
        i = cutout.bands.index(band)
        parts.append(colour_images(_GREY_GAIN * shown[None, i : i + 1], band, stretch))
    parts.append(colour_images(other[None], cutout.bands, stretch))
    strip = np.concatenate([part[0, ::-1] for part in parts], axis=1)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shown_bands(bands):
    """Bands with a panel of their own: g, r, z where there are these, else the first three."""
    return "grz" if {"g", "r", "z"} <= set(bands) else bands[:3]
