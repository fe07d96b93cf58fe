"""Sections on the data: the survey, and what is taken of it."""

from math import cos, radians, sin
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lenspipe.config.base import BrickName, Degrees, Fraction, Positive, PositiveInt, Section

Declination = Annotated[float, Field(ge=-90, le=90)]


def power_of_two(value):
    """Refuse an nside that HEALPix has no nested numbers for."""
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


class Survey(Section):
    """Which data to search."""

    name: str = Field(
        "legacy",
        description="The imaging survey: legacy (DESI Legacy Imaging Surveys), or another module "
        "of lenspipe.config.surveys.",
    )
    release: str = Field("dr9", description="Data release of the survey: dr7, dr8, dr9 or dr10.")
    tree: str | None = Field(
        None,
        description="Folder or address (http, https, s3, gs) of the release, laid out as the "
        "survey's own. None: the simulated sky of this run.",
    )
    bands: tuple[str, ...] = Field(("g", "r", "z"), description="Bands of the cutouts, in order.")
    catalogs: Literal["tractor", "sweeps", "tap"] = Field(
        "tractor",
        description="Where the parent sample comes from: a Tractor file per brick, sweep files, or "
        "queries to a TAP service.",
    )
    sweeps: str | None = Field(
        None,
        description="Folder or address of the sweep files; {region} in it stands for the region. "
        "None: the release's own, below survey.tree.",
    )
    tap: str = Field(
        "https://datalab.noirlab.edu/tap", description="Address of the TAP service (Data Lab)."
    )
    service: str = Field(
        "https://www.legacysurvey.org/viewer", description="Address of the cutout service."
    )


class Retrieval(Section):
    """How remote files are fetched."""

    contact: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]+$",
        description="Mail or web address that servers see beside lenspipe's name; needed for http.",
    )
    connections: int = Field(
        4, ge=1, le=64, description="Connections to a server at once, for each job."
    )
    attempts: PositiveInt = Field(6, description="Most tries of a request.")
    patience_s: Positive = Field(
        900.0, description="Time after which a request is not tried again, seconds."
    )
    timeout_s: Positive = Field(
        30.0, description="Longest silence of a server before it is a failure, seconds."
    )
    min_kb_per_s: Positive = Field(
        10.0, description="Slowest transfer that isn't broken off (and tried again), kB/s."
    )
    checksums: bool = Field(
        False, description="Whether whole files are checked against the survey's sha256sum files."
    )
    cache: str = Field(
        "results/cache", description="Folder of fetched catalogues and tables, for all runs."
    )
    cache_gb: Positive = Field(10.0, description="Most that the cache may hold, GB.")


def _dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


class HealpixCells(Section):
    """Cells of a HEALPix grid."""

    nside: int = Field(..., ge=1, le=2**29, description="HEALPix nside, a power of two.")
    order: Literal["nested", "ring"] = Field(
        "nested", description="How the cells are numbered: nested or ring."
    )
    cells: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        ..., min_length=1, description="Numbers of the cells, from 0."
    )

    @field_validator("nside")
    @classmethod
    def _power_of_two(cls, value):
        return power_of_two(value)

    @model_validator(mode="after")
    def _on_the_grid(self):
        number = 12 * self.nside**2
        if max(self.cells) >= number:
            raise ValueError(f"cell {max(self.cells)}: nside {self.nside} has {number}, from 0")
        return self


class Footprint(Section):
    """Which part of the sky to search: the bricks whose centre meets all given conditions."""

    ra: tuple[Degrees, Degrees] = Field(
        (0.0, 360.0),
        description="Range of brick centres in right ascension, degrees; wraps at 0 if min > max.",
    )
    dec: tuple[Declination, Declination] = Field(
        (-90.0, 90.0), description="Range of brick centres in declination, degrees."
    )
    bricks: tuple[BrickName, ...] | None = Field(
        None, description="Names of bricks; None for all in the ranges."
    )
    brick_list: str | None = Field(
        None,
        description="File with the name of a brick at the start of each line (text or CSV).",
    )
    polygon: tuple[tuple[Degrees, Declination], ...] | None = Field(
        None,
        min_length=3,
        description="Corners [ra, dec], degrees, going round either way, also across ra 0 or a "
        "pole; edges are great circles. All within 90 degrees of the corners' mean direction.",
    )
    healpix: HealpixCells | None = Field(
        None, description="Cells of a HEALPix grid: nside, order (nested or ring), cells."
    )
    moc: str | None = Field(
        None, description="File of a multi-order coverage map (IVOA MOC): FITS, JSON or ASCII."
    )
    known_lenses: Literal["only", "add"] | None = Field(
        None,
        description="`only`: of these bricks those that hold a lens of sample.known_lenses; `add`: "
        "besides these bricks all of the release that hold one. For training.",
    )

    @field_validator("dec")
    @classmethod
    def _ordered(cls, value):
        if value[0] >= value[1]:
            raise ValueError("the first declination must be below the second")
        return value

    @field_validator("polygon")
    @classmethod
    def _on_one_side(cls, value):
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
    def files(self):
        """Files whose content is part of the footprint."""
        return [path for path in (self.brick_list, self.moc) if path]


class Chunks(Section):
    """How bricks are grouped into jobs: by cell of a nested HEALPix grid."""

    nside: int = Field(
        16,
        ge=1,
        le=8192,
        description="HEALPix nside, a power of two; 16 has ~215 bricks a chunk, 8 is right for a "
        "whole survey.",
    )

    @field_validator("nside")
    @classmethod
    def _power_of_two(cls, value):
        return power_of_two(value)


class Simulation(Section):
    """The simulated sky, for runs without survey data."""

    galaxies_per_brick: PositiveInt = Field(
        340, description="Galaxies brighter than z = 20.5 in a brick (mean)."
    )
    faint_per_brick: int = Field(
        3500, ge=0, description="Fainter background sources in a brick (mean)."
    )
    stars_per_brick: int = Field(250, ge=0, description="Stars in a brick (mean).")
    lenses_per_brick: int = Field(
        90, ge=0, description="Lenses in a brick (mean); the real sky has ~0.02."
    )
    confusing_fraction: Fraction = Field(
        0.13, description="Part of the bright galaxies that belong to classes that confuse."
    )
    known_fraction: Fraction = Field(
        0.97,
        description="Fraction of the planted lenses with theta_E >= 1 arcsec and arc signal to "
        "noise >= 10 that earlier searches have published.",
    )
    boundary_dec: float = Field(
        32.375, description="Declination where the northern survey begins, degrees."
    )
    overlap: bool = Field(
        True, description="Whether one brick south of the boundary exists in both regions."
    )


class Parent(Section):
    """The parent sample: which galaxies to look at."""

    types: tuple[str, ...] = Field(("DEV", "SER"), description="Tractor types kept.")
    sersic_min: Annotated[float, Field(ge=0, le=6)] = Field(
        2.0, description="Least Sersic index of a SER galaxy (releases that have the type)."
    )
    mag_z_max: float = Field(
        20.0, description="Faintest z magnitude (AB, not corrected for extinction)."
    )
    min_exposures: int = Field(3, ge=0, description="Least exposures in each band at the centre.")
    maskbits: tuple[str, ...] = Field(
        ("BRIGHT", "BAILOUT", "CLUSTER"), description="MASKBITS that remove a galaxy."
    )


class Cutouts(Section):
    """Stamps around the galaxies of the parent sample."""

    size: int = Field(
        101, ge=21, le=801, description="Side of a cutout, pixels of 0.262 arcsec; odd."
    )
    max_masked_fraction: Fraction = Field(
        0.2, description="Masked part of a cutout above which it is flagged."
    )
    source: Literal["coadds", "service"] = Field(
        "coadds",
        description="Whether to cut from the coadds, or to ask the cutout service for each galaxy "
        "(right for scattered positions only).",
    )

    @field_validator("size")
    @classmethod
    def _odd(cls, value):
        if value % 2 == 0:
            raise ValueError("must be odd, so that the galaxy is at the centre of a pixel")
        return value


class Failures(Section):
    """Bricks that can't be read or had."""

    strict: bool = Field(
        False,
        description="Whether such a brick is an error that ends its chunk's job, after all its "
        "other bricks were tried. Otherwise it is noted with its reason, and the run goes on.",
    )
    retry: Literal["transient", "all", "none"] = Field(
        "transient",
        description="Which failed bricks a later run tries again: those whose failure is "
        "transient (a server may deliver them then), all of them (after their files were "
        "repaired), or none.",
    )
