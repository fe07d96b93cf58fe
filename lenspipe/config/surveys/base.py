"""Description of an imaging survey's data release, and of the layout of its files.

A survey is a module of this package with a dictionary ``RELEASES``, release name -> `Release`.
Everything specific to the survey is in that module; all other code is given a `Release`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lenspipe.utils.files import is_remote

__all__ = ["Release", "SurveyPaths"]


class SurveyPaths(ABC):
    """Paths of the files of a survey's release.

    They are `pathlib.Path` if the tree is a folder, and str if it is an address.

    Parameters
    ----------
    tree
        Folder or address of the release.
    """

    def __init__(self, tree: str | Path, release: "Release") -> None:
        self.tree = str(tree).rstrip("/") if is_remote(tree) else Path(tree)
        self.release = release

    def below(self, name: str) -> str | Path:
        """Path of a file below the tree."""
        return f"{self.tree}/{name}" if isinstance(self.tree, str) else self.tree / name

    @abstractmethod
    def all_bricks(self) -> str | Path:
        """Table of all bricks on the sky."""

    @abstractmethod
    def bricks(self, region: str) -> str | Path:
        """Table of the bricks with data in a region."""

    @abstractmethod
    def tractor(self, region: str, brick: str) -> str | Path:
        """Tractor catalogue of a brick."""

    @abstractmethod
    def checksums(self, path: str | Path, folder: str | None = None) -> str | Path:
        """List of the SHA-256 sums of a file and of the others beside it.

        Parameters
        ----------
        path
            Of the file.
        folder
            Folder that it has in the survey's tree, if it is elsewhere.
        """

    @abstractmethod
    def coadd(self, region: str, brick: str, kind: str, band: str | None = None) -> str | Path:
        """Coadd of a brick.

        The kind is image, invvar, nexp or psfsize, with a band, or maskbits, without.
        """


@dataclass(frozen=True)
class Release(ABC):
    """One data release of an imaging survey.

    Attributes
    ----------
    survey
        Title of the survey.
    name
        Of the release, as in file names: ``dr9``.
    numbers
        Values of the catalogue's column ``release``.
    bands_of_regions
        Region -> its optical bands; regions were reduced independently.
    has_region_folders
        Whether the tree has a folder per region.
    types
        Tractor types of extended sources.
    shape
        Whether the catalogue has ``shape_r``, ``shape_e1``, ``shape_e2`` and ``sersic``, or
        ``shapedev_*`` and ``shapeexp_*``.
    maskbits
        Whether the catalogue has a column ``maskbits``, and every brick a coadd of mask bits.
    mask_bits
        Name -> bit, of those that the release defines.
    catalog_bits
        Names of the mask bits that the catalogue has; all if none are given.
    vector_bands
        Bands in the order of the catalogue's vector columns (``decam_flux``), if it has any.
    pixel_scale_arcsec
        Of the coadds.
    brick_deg
        Height of a brick, and its maximum width, degrees.
    brick_pixels
        Side of a coadd, pixels.
    zero_point_mag
        AB magnitude of a flux of 1 in the units of images and catalogues.
    quantization_step
        Step in which the pixels of the coadds are stored, in their units; well below their noise.
    name_prefix
        Of the IAU-style names of objects.
    sweeps
        Folder of the sweep files in that of the region, if there are any.
    maskbits_packed
        Last suffix of the coadds of mask bits: fz, or gz.
    sweep_box_deg
        Extent of a sweep file in right ascension and declination, degrees.
    tap_tables
        Region -> tables of the TAP service with its sources, the preferred one first, and for each
        the condition in ADQL that selects them, empty if all rows are; no regions if the service
        does not have the release.
    """

    survey: str
    name: str
    numbers: range
    bands_of_regions: Mapping[str, tuple[str, ...]]
    has_region_folders: bool
    types: tuple[str, ...]
    shape: Literal["sersic", "devexp"]
    maskbits: bool
    mask_bits: Mapping[str, int]
    vector_bands: str
    pixel_scale_arcsec: float
    brick_deg: float
    brick_pixels: int
    zero_point_mag: float
    quantization_step: float
    name_prefix: str
    sweeps: str = ""
    catalog_bits: tuple[str, ...] = ()
    maskbits_packed: Literal["fz", "gz"] = "fz"
    sweep_box_deg: tuple[int, int] = (0, 0)
    tap_tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions, which were reduced independently."""
        return tuple(self.bands_of_regions)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of at least one region."""
        return tuple(dict.fromkeys(b for bands in self.bands_of_regions.values() for b in bands))

    def regions_with(self, bands: Iterable[str]) -> tuple[str, ...]:
        """Regions that have all of these bands."""
        needed = set(bands)
        return tuple(name for name, bands in self.bands_of_regions.items() if needed <= {*bands})

    def mask(self, names: tuple[str, ...]) -> int:
        """Return the mask with the bits of some names set."""
        return sum({1 << self.mask_bits[name] for name in names})

    @abstractmethod
    def paths(self, tree: str | Path) -> SurveyPaths:
        """Return the paths of the release's files below a folder or an address."""

    @abstractmethod
    def bad_pixels(self, bands: Iterable[str]) -> int:
        """Mask with the bits that make a pixel of the coadds of some bands unusable."""

    @abstractmethod
    def sweep_folder(self, region: str) -> str:
        """Folder of a region's sweep files below the tree."""

    @abstractmethod
    def northern_boundary_dec(self) -> float:
        """Declination from which on the north galactic cap belongs to region north, degrees."""

    @abstractmethod
    def viewer_layer(self, region: str) -> str:
        """Layer of the sky viewer and its cutout service that shows a region."""

    @abstractmethod
    def viewer_address(self, ra: float, dec: float) -> str:
        """Address of a position (degrees) in the sky viewer."""
