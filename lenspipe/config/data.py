"""Sections on the data: the survey, the area, the parent sample and its cutouts."""

from collections.abc import Sequence
from math import cos, radians, sin
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PrivateAttr, field_validator, model_validator

from lenspipe.config.base import (
    BrickName,
    Degrees,
    Fraction,
    PathText,
    Positive,
    PositiveInt,
    Section,
)
from lenspipe.utils.addresses import Credentials

Declination = Annotated[float, Field(ge=-90, le=90)]


def power_of_two(value: int) -> int:
    """Refuse an nside without nested numbering."""
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


class Survey(Section):
    """The imaging data to search."""

    name: str = Field(
        "legacy",
        description="Imaging survey: legacy (DESI Legacy Imaging Surveys), or another module of "
        "lenspipe.config.surveys.",
    )
    release: str = Field("dr9", description="Data release, such as dr9.")
    tree: PathText | None = Field(
        None,
        description="Folder or address (http, https, s3, gs) of the release, with the survey's "
        "layout of files. None: the simulated sky of this run.",
    )
    bands: tuple[str, ...] = Field(("g", "r", "z"), description="Bands of the cutouts, in order.")
    catalogs: Literal["tractor", "sweeps", "tap"] = Field(
        "tractor",
        description="Source of the parent sample: the Tractor file of each brick, sweep files, or "
        "queries to a TAP service.",
    )
    sweeps: PathText | None = Field(
        None,
        description="Folder or address of the sweep files, in which {region} is replaced by the "
        "region. None: the release's folder below survey.tree.",
    )
    tap: str = Field(
        "https://datalab.noirlab.edu/tap", description="Address of the TAP service (Data Lab)."
    )
    service: str = Field(
        "https://www.legacysurvey.org/viewer", description="Address of the cutout service."
    )


class Retrieval(Section):
    """Downloading of remote files."""

    _credentials: dict[str, Credentials] = PrivateAttr(default_factory=dict)

    contact: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]+$",
        description="Mail or web address that is sent to servers with lenspipe's name; required "
        "for http.",
    )
    connections: int = Field(
        4, ge=1, le=64, description="Simultaneous connections to a server, for each job."
    )
    attempts: PositiveInt | None = Field(
        None,
        description="Maximum number of attempts of a request; None: as many as patience_s allows.",
    )
    patience_s: Positive = Field(
        900.0,
        description="Time after which a request is not retried, and a server that stays "
        "unavailable is given up, seconds; the waits between attempts grow to 5 minutes.",
    )
    timeout_s: Positive = Field(
        30.0, description="Time without data from a server after which a request fails, seconds."
    )
    min_kb_per_s: Positive = Field(
        10.0, description="Minimum transfer rate; slower transfers are aborted and retried, kB/s."
    )
    checksums: bool = Field(
        False,
        description="Whether complete files are checked against the survey's sha256sum files.",
    )
    cache: PathText = Field(
        "results/cache",
        description="Folder of downloaded catalogues and tables, shared by all runs.",
    )
    cache_gb: Positive = Field(10.0, description="Maximum size of the cache, GB.")

    def credentials_for(self, address: str) -> Credentials:
        """Return the credentials for an address: those given for it or for a folder above it.

        They are no field, so that they are in no copy of the configuration.
        """
        above = [key for key in self._credentials if f"{address}/".startswith(f"{key}/")]
        return self._credentials[max(above, key=len)] if above else Credentials()


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


class HealpixCells(Section):
    """Cells of a HEALPix grid."""

    nside: int = Field(..., ge=1, le=2**29, description="HEALPix nside, a power of two.")
    order: Literal["nested", "ring"] = Field(
        "nested", description="Numbering scheme of the cells: nested or ring."
    )
    cells: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        ..., min_length=1, description="Numbers of the cells, from 0."
    )

    @field_validator("nside")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        return power_of_two(value)

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        number = 12 * self.nside**2
        if max(self.cells) >= number:
            raise ValueError(f"cell {max(self.cells)}: nside {self.nside} has {number}, from 0")
        return self


class Footprint(Section):
    """The area to search: bricks whose centre meets all given conditions."""

    ra: tuple[Degrees, Degrees] = Field(
        (0.0, 360.0),
        description="Range of brick centres in right ascension, degrees; includes 0 if min > max.",
    )
    dec: tuple[Declination, Declination] = Field(
        (-90.0, 90.0), description="Range of brick centres in declination, degrees."
    )
    bricks: tuple[BrickName, ...] | None = Field(
        None, description="Names of bricks; None for all in the ranges."
    )
    brick_list: PathText | None = Field(
        None,
        description="File with a brick name at the start of each line, or a table with a column "
        "brick.",
    )
    polygon: tuple[tuple[Degrees, Declination], ...] | None = Field(
        None,
        min_length=3,
        description="Corners [ra, dec], degrees, in order (clockwise or anticlockwise), joined by "
        "great circles; may include ra 0 or a pole. All must be within 90 degrees of their mean "
        "direction.",
    )
    healpix: HealpixCells | None = Field(
        None, description="Cells of a HEALPix grid: nside, order (nested or ring), cells."
    )
    moc: PathText | None = Field(
        None, description="File of a multi-order coverage map (IVOA MOC): FITS, JSON or ASCII."
    )
    known_lenses: Literal["only", "add"] | None = Field(
        None,
        description="`only`: search only those of these bricks that contain a lens of "
        "sample.known_lenses; `add`: also search all other bricks of the release that contain one. "
        "For training.",
    )

    @field_validator("dec")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("the first declination must be below the second")
        return value

    @field_validator("polygon")
    @classmethod
    def _on_one_side(
        cls, value: tuple[tuple[float, float], ...] | None
    ) -> tuple[tuple[float, float], ...] | None:
        if value is None:
            return value
        corners = [
            (cos(d) * cos(r), cos(d) * sin(r), sin(d))
            for r, d in ((radians(ra), radians(dec)) for ra, dec in value)
        ]
        middle = [sum(axis) for axis in zip(*corners, strict=True)]
        if min(_dot(corner, middle) for corner in corners) <= 1e-9:
            raise ValueError("its corners must be within 90 degrees of their mean direction")
        return value

    @property
    def files(self) -> list[str]:
        """Files whose content defines the footprint."""
        return [path for path in (self.brick_list, self.moc) if path]


class Chunks(Section):
    """Grouping of bricks into jobs, by cells of a nested HEALPix grid."""

    nside: int = Field(
        16,
        ge=1,
        le=8192,
        description="HEALPix nside, a power of two; 16 gives ~215 bricks per chunk; 8 suits a "
        "whole survey.",
    )

    @field_validator("nside")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        return power_of_two(value)


#: What makes images of the simulated sky imperfect, as those of the survey are.
Effect = Literal[
    "correlated_noise",
    "varying_psf",
    "bright_stars",
    "ghosts",
    "cirrus",
    "sky_residuals",
    "trails",
    "cosmic_rays",
    "bad_columns",
    "missing_bands",
]


class Simulation(Section):
    """A simulated sky, for runs without survey data."""

    galaxies_per_brick: PositiveInt = Field(
        300,
        description="Mean number of galaxies with what belongs to them (groups, companions) per "
        "brick, most of them brighter than r = 22.",
    )
    faint_per_brick: int = Field(
        7000, ge=0, description="Mean number of faint field galaxies per brick."
    )
    stars_per_brick: int = Field(500, ge=0, description="Mean number of stars per brick.")
    lenses_per_brick: int = Field(
        90, ge=0, description="Mean number of lenses per brick; the real sky has ~0.02."
    )
    known_fraction: Fraction = Field(
        0.97,
        description="Fraction of the visible lenses that the simulated lists of known lenses "
        "contain.",
    )
    boundary_dec: float = Field(
        32.375, description="Declination of the boundary of the northern survey, degrees."
    )
    overlap: bool = Field(
        True, description="Whether one brick south of the boundary is in both regions."
    )
    effects: tuple[Effect, ...] = Field(
        get_args(Effect),
        description="Imperfections of the images: noise correlated between pixels, PSFs that vary "
        "over a brick, saturated stars with spikes, bleed trails and halos, ghosts of bright "
        "stars, Galactic cirrus and reddening, residuals of the sky subtraction, satellite trails, "
        "cosmic rays, bad columns, and places without data in a band.",
    )


class Parent(Section):
    """The parent sample: the galaxies to search."""

    types: tuple[str, ...] = Field(("DEV", "SER"), description="Accepted Tractor types.")
    sersic_min: Annotated[float, Field(ge=0, le=6)] = Field(
        2.0, description="Minimum Sersic index of SER galaxies (in releases with this type)."
    )
    mag_z_max: float = Field(
        20.0, description="Maximum z magnitude (AB, not corrected for extinction)."
    )
    min_exposures: int = Field(
        3, ge=0, description="Minimum number of exposures in each band at the centre."
    )
    maskbits: tuple[str, ...] = Field(
        ("BRIGHT", "BAILOUT", "CLUSTER"), description="MASKBITS that exclude a galaxy."
    )


class Cutouts(Section):
    """Cutouts of the galaxies of the parent sample."""

    size: int = Field(
        101, ge=21, le=801, description="Side of a cutout, pixels of 0.262 arcsec; odd."
    )
    max_masked_fraction: Fraction = Field(
        0.2, description="Masked fraction above which a cutout is flagged."
    )
    source: Literal["coadds", "service"] = Field(
        "coadds",
        description="Whether to cut stamps from the coadds, or to request each from the cutout "
        "service (for scattered positions only).",
    )

    @field_validator("size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the galaxy is at the centre of a pixel")
        return value


class Failures(Section):
    """Bricks that can't be read or downloaded."""

    strict: bool = Field(
        False,
        description="Whether such a brick makes the job of its chunk fail, after all its other "
        "bricks. Otherwise it is listed with the reason, and the run continues.",
    )
    retry: Literal["transient", "all", "none"] = Field(
        "transient",
        description="Failed bricks that a later run retries: those with a transient failure (a "
        "server may deliver them then), all of them (after their files were repaired), or none.",
    )
