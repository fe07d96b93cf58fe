"""Settings as pydantic models: the only reader of configuration.

Light on purpose: Snakemake imports this module whenever it parses the Snakefile.
"""

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lenspipe.errors import LenspipeError
from lenspipe.explain import explain
from lenspipe.paths import RunPaths, SurveyPaths
from lenspipe.survey import MASKBITS, get_release

__all__ = ["Settings", "digest", "load_settings"]

Degrees = Annotated[float, Field(ge=0, le=360)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
BrickName = Annotated[str, Field(pattern=r"^\d{4}[pm]\d{3}$")]


class Section(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Survey(Section):
    """Which data to search."""

    release: Literal["dr7", "dr8", "dr9", "dr10"] = Field(
        "dr9", description="Data release of the Legacy Surveys."
    )
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


class Footprint(Section):
    """Which part of the sky to search; all given conditions hold together."""

    ra: tuple[Degrees, Degrees] = Field(
        (0.0, 360.0),
        description="Range of brick centres in right ascension, degrees; wraps at 0 if min > max.",
    )
    dec: tuple[Annotated[float, Field(ge=-90)], Annotated[float, Field(le=90)]] = Field(
        (-90.0, 90.0), description="Range of brick centres in declination, degrees."
    )
    bricks: tuple[BrickName, ...] | None = Field(
        None, description="Names of bricks; None for all in the ranges."
    )

    @field_validator("dec")
    @classmethod
    def _ordered(cls, value):
        if value[0] >= value[1]:
            raise ValueError("the first declination must be below the second")
        return value


class Chunks(Section):
    """How bricks are grouped into jobs: by cell of a nested HEALPix grid."""

    nside: int = Field(
        16, ge=1, le=8192, description="HEALPix nside, a power of two; 16 has ~215 bricks a chunk."
    )

    @field_validator("nside")
    @classmethod
    def _power_of_two(cls, value):
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value


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
        0.97, description="Part of the visible lenses that earlier searches have published."
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

    @field_validator("maskbits")
    @classmethod
    def _known_bits(cls, value):
        unknown = [bit for bit in value if bit not in MASKBITS]
        if unknown:
            raise ValueError(
                f"no such mask bit: {', '.join(unknown)}; known: {', '.join(MASKBITS)}"
            )
        return value


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
    skip_unreadable: bool = Field(
        False,
        description="Whether a brick whose local files can't be read is left out with its reason "
        "in the manifest, rather than stopping the run.",
    )

    @field_validator("size")
    @classmethod
    def _odd(cls, value):
        if value % 2 == 0:
            raise ValueError("must be odd, so that the galaxy is at the centre of a pixel")
        return value


class Sample(Section):
    """The labelled sample."""

    known_lenses: str | None = Field(
        None,
        description="CSV of known lenses: ra, dec in degrees. None: the simulated sky's list.",
    )
    confusing: str | None = Field(
        None,
        description="CSV of confusing non-lenses: ra, dec in degrees. None: the simulated sky's.",
    )
    match_radius_arcsec: Positive = Field(
        2.0, description="How far a catalogue's position may be from a galaxy, arcsec."
    )
    negatives_per_lens: Positive = Field(
        33.0, description="Most non-lenses per lens; confusing ones are kept first."
    )
    split_nside: int = Field(
        256, ge=1, description="HEALPix nside of the cells that are never divided between splits."
    )
    fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.6, 0.15, 0.25), description="Parts of the cells for training, validation and test."
    )
    exclusion_arcsec: Positive = Field(
        10.0, description="No non-lens within this distance of a known lens, arcsec."
    )

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value):
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError("must add up to 1")
        return value


class Training(Section):
    """The network and how it is trained."""

    name: str = Field(
        "resnet", pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Name of the trained model."
    )
    network: Literal["cmu_deeplens", "shielded_resnet"] = Field(
        "cmu_deeplens", description="Architecture."
    )
    network_settings: dict[str, int | float | bool | list[int]] = Field(
        default_factory=dict, description="Arguments of the architecture; see docs/networks.md."
    )
    epochs: PositiveInt = Field(120, description="Passes over the training split.")
    batch_size: PositiveInt = Field(128, description="Cutouts per step.")
    learning_rate: Positive = Field(1e-3, description="Adam's rate at the start.")
    decay_epochs: tuple[PositiveInt, ...] = Field(
        (40, 80), description="Epochs at which the rate is multiplied by decay_factor."
    )
    decay_factor: Positive = Field(0.1, description="See decay_epochs.")
    lens_weight: Positive | None = Field(
        None,
        description="Weight of a lens in the loss; None balances the classes up to a factor of 10.",
    )
    mixed_precision: bool = Field(
        True, description="Half precision where there is a GPU; never on a CPU."
    )


class Inference(Section):
    """Scoring."""

    model: str | None = Field(
        None, description="Trained model (.keras) to search with. None: train one in this run."
    )
    batch_size: PositiveInt = Field(256, description="Cutouts per step.")
    symmetries: Literal[1, 8] = Field(
        1, description="Orientations of a cutout whose scores are averaged: 1, or all 8."
    )


class Candidates(Section):
    """From scores to candidates."""

    threshold: Fraction = Field(0.9, description="Least probability of a candidate.")
    merge_radius_arcsec: Positive = Field(
        5.0, description="Candidates nearer to each other than this are one, arcsec."
    )
    reject_flags: tuple[
        Literal["MISSING_BAND", "EDGE", "MASKED", "NONFINITE", "NO_EXPOSURE"], ...
    ] = Field(
        ("MISSING_BAND", "EDGE", "NONFINITE", "NO_EXPOSURE"),
        description="Flags of a cutout that keep its galaxy from being a candidate.",
    )


class Mosaics(Section):
    """Pages of colour images for inspection."""

    stretch: Literal["viewer", "lupton"] = Field("viewer", description="Colour stretch.")
    columns: PositiveInt = Field(8, description="Tiles in a row.")
    rows: PositiveInt = Field(5, description="Rows of a page.")
    per_brick: bool = Field(True, description="Whether each brick also gets a mosaic.")
    brick_tiles: PositiveInt = Field(40, description="Most galaxies in a brick's mosaic.")


class Settings(Section):
    """All settings of one run."""

    run: str = Field(
        ..., pattern=r"^[A-Za-z0-9][\w.-]*$", description="Name of the run, below results/."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of all randomness.")
    survey: Survey = Field(default_factory=Survey)
    retrieval: Retrieval = Field(default_factory=Retrieval)
    targets: str | None = Field(
        None,
        description="CSV of positions (ra, dec in degrees, name if wanted) to fetch, score and "
        "show instead of the galaxies of a footprint.",
    )
    footprint: Footprint = Field(default_factory=Footprint)
    chunks: Chunks = Field(default_factory=Chunks)
    simulation: Simulation | None = Field(
        None, description="The simulated sky; only where survey.tree is not given."
    )
    parent: Parent = Field(default_factory=Parent)
    cutouts: Cutouts = Field(default_factory=Cutouts)
    sample: Sample = Field(default_factory=Sample)
    training: Training = Field(default_factory=Training)
    inference: Inference = Field(default_factory=Inference)
    candidates: Candidates = Field(default_factory=Candidates)
    mosaics: Mosaics = Field(default_factory=Mosaics)

    @model_validator(mode="after")
    def _fit_together(self):
        problems = []
        if (self.survey.tree is None) == (self.simulation is None):
            problems.append("give either survey.tree (real data) or simulation (a simulated sky)")
        release = get_release(self.survey.release)
        odd = [band for band in self.survey.bands if band not in release.bands]
        if odd or not self.survey.bands:
            problems.append(
                f"survey.bands: found {list(self.survey.bands)}, expected some of "
                f"{list(release.bands)} ({release.name})"
            )
        odd = [name for name in self.parent.types if name not in release.types]
        if odd or not self.parent.types:
            problems.append(
                f"parent.types: found {list(self.parent.types)}, expected some of "
                f"{list(release.types)} ({release.name})"
            )
        if self.simulation and self.survey.release != "dr9":
            problems.append("survey.release: the simulated sky is written as dr9")
        given = self.targets or self.footprint.bricks
        if self.simulation and not given and self._area() > 100:
            problems.append(
                f"footprint: {self._area():.0f} square degrees is too large for a simulated sky; "
                "give ra and dec ranges of at most 100"
            )
        if self.survey.tree and not (self.sample.known_lenses or self.inference.model):
            problems.append(
                "sample.known_lenses: a search of real data needs a CSV with ra, dec (or a trained "
                "model in inference.model)"
            )
        if self.targets and not self.inference.model:
            problems.append("targets: a list of positions needs a trained model, inference.model")
        if self.targets and self.footprint != Footprint():
            problems.append("targets: give either a list of positions or a footprint, not both")
        if self.asks_servers and not self.retrieval.contact:
            problems.append(
                "retrieval.contact: missing; servers should know whom to ask: give a mail or web "
                "address"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def asks_servers(self):
        """Whether anything is fetched over HTTP."""
        survey = self.survey
        addresses = [survey.tree, survey.sweeps]
        addresses += [survey.tap] if survey.catalogs == "tap" and not self.targets else []
        addresses += [survey.service] if self.cutouts.source == "service" else []
        return any(re.match("https?://", address or "") for address in addresses)

    def _area(self):
        (ra0, ra1), (dec0, dec1) = self.footprint.ra, self.footprint.dec
        return ((ra1 - ra0) % 360 or 360) * (dec1 - dec0)

    @property
    def release(self):
        """The data release, `lenspipe.survey.Release`."""
        return get_release(self.survey.release)

    @property
    def paths(self):
        """Files of the run, `lenspipe.paths.RunPaths`."""
        return RunPaths(self.run)

    @property
    def survey_paths(self):
        """The survey's files, `lenspipe.paths.SurveyPaths`."""
        return SurveyPaths(self.survey.tree or self.paths.sky, self.release)


def digest(*values):
    """Hash plain values.

    Parameters
    ----------
    *values : pydantic models, dicts, lists, numbers, strings
        What the hash stands for.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256 of the values' canonical JSON.
    """

    def plain(value):
        return value.model_dump() if isinstance(value, BaseModel) else str(value)

    text = json.dumps(values, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_settings(config):
    """Check a configuration and return it as settings.

    Parameters
    ----------
    config : dict
        As read from YAML.

    Returns
    -------
    Settings

    Raises
    ------
    LenspipeError
        One line for each wrong key, all at once.
    """
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        lines = [explain(problem, Settings) for problem in error.errors()]
        raise LenspipeError("\n".join(lines)) from None
