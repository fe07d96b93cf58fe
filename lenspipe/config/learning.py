"""Sections on what a network learns from, and how it scores."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lenspipe.config.base import Fraction, Grade, Positive, PositiveInt, Section, as_list
from lenspipe.utils.files import stem


class Catalogue(Section):
    """A catalogue of known lenses; its path alone may stand for it."""

    path: str = Field(
        description="CSV, TSV, ECSV or FITS file with ra, dec and, if it has it, grade; its "
        "address; or `lenscat`, the table of that package."
    )
    name: str | None = Field(
        None, description="What its lenses are referred to by. None: the name of the file."
    )
    grade: Grade | None = Field(None, description="Grade of its lenses that have none.")
    grades: dict[str, Grade] = Field(
        {"confident": "A", "probable": "C"},
        description="Grades that its own words stand for, besides A to D.",
    )
    ra_unit: Literal["deg", "hour"] | None = Field(
        None, description="Unit of numbers in ra. None: the column's own, or degrees."
    )

    @property
    def label(self):
        """What its lenses are referred to by: its name, or the file's without its suffixes."""
        return self.name or stem(self.path)


def _paths_as_catalogues(value):
    """Catalogues, of which a path alone may stand for one, and one for a list."""
    return [{"path": entry} if isinstance(entry, str) else entry for entry in as_list(value)]


#: One or several catalogues, as a user writes them.
Catalogues = Annotated[tuple[Catalogue, ...], BeforeValidator(_paths_as_catalogues)]


class Sample(Section):
    """The labelled sample."""

    known_lenses: Catalogues = Field(
        (),
        description="Catalogues of known lenses, or their paths. None: the simulated sky's list.",
    )
    confusing: tuple[str, ...] = Field(
        (),
        description="Lists of confusing non-lenses: ra, dec and, if wanted, kind. None: the "
        "simulated sky's.",
    )
    graded: tuple[str, ...] = Field(
        (),
        description="Lists of galaxies graded by eye: ra, dec and grade, as mining and cleaning "
        "write them. A to C are lenses, D is none; without a grade a galaxy is set aside.",
    )
    grades: tuple[Grade, ...] | None = Field(
        None, description="Grades of the lenses to train on. None: all, and those without a grade."
    )
    lens_types: tuple[str, ...] | None = Field(
        None, description="Tractor types of the lenses to train on. None: all of the parent sample."
    )
    kinds: tuple[str, ...] | None = Field(
        None,
        description="Kinds of the lenses to train on, as catalogues call them (lenscat: galaxy, "
        "group, cluster); those of no stated kind stay. None: all.",
    )
    merge_radius_arcsec: Positive = Field(
        5.0, description="Entries of catalogues linked by steps of at most this are one, arcsec."
    )
    match_radius_arcsec: Positive = Field(
        2.0, description="How far a catalogue's position may be from a galaxy, arcsec."
    )
    exclusion_arcsec: Positive = Field(
        10.0, description="No non-lens within this distance of a known lens, arcsec."
    )
    negatives_per_lens: Positive = Field(
        33.0,
        description="Most non-lenses per lens, alike for each Tractor type, region and number of "
        "exposures in the last band; confusing ones are kept first.",
    )
    injected_per_lens: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Simulated lenses per known lens in the training split, as further ones."
    )
    cleaning_model: str | None = Field(
        None,
        description="Trained model (.keras); non-lenses that it takes for lenses are set aside for "
        "the eye.",
    )
    cleaning_threshold: Fraction = Field(
        0.5, description="Least probability at which a non-lens is set aside."
    )
    mined: PositiveInt = Field(100, description="Most galaxies that mining gives to the eye.")
    split_nside: int = Field(
        256, ge=1, description="HEALPix nside of the cells that are never divided between splits."
    )
    fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.6, 0.15, 0.25),
        description="Parts of the lenses for training, validation and test; two numbers leave out "
        "the test, `none` trains on all.",
    )

    @field_validator("confusing", "graded", mode="before")
    @classmethod
    def _oneas_list(cls, value):
        return as_list(value)

    @field_validator("fractions", mode="before")
    @classmethod
    def _all_three(cls, value):
        if value in ("none", None):
            return (1.0, 0.0, 0.0)
        return [*value, 0.0] if isinstance(value, list | tuple) and len(value) == 2 else value

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value):
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError("must add up to 1")
        if value[0] == 0:
            raise ValueError("the training split must have a part")
        return value


class Injection(Section):
    """Lensed arcs painted onto cutouts of ellipticals."""

    theta_e: Literal["dispersion", "drawn"] = Field(
        "dispersion",
        description="Einstein radii from the galaxy's velocity dispersion (by its luminosity), or "
        "drawn evenly in theta_e_range.",
    )
    theta_e_range: tuple[Positive, Positive] = Field(
        (0.8, 3.5), description="Least and largest Einstein radius, arcsec."
    )
    min_arc_snr: Annotated[float, Field(ge=0)] = Field(
        20.0,
        description="Least signal to noise of the arcs, which then also meet the other criteria of "
        "docs/injection.md; 0 takes arcs as they come, to measure completeness.",
    )

    @field_validator("theta_e_range")
    @classmethod
    def _ordered(cls, value):
        if value[0] >= value[1]:
            raise ValueError("the first Einstein radius must be below the second")
        return value


class Records(Section):
    """TFRecords."""

    dtype: Literal["float32", "float16"] = Field(
        "float32", description="Numbers in which the cutouts of the labelled sample are kept."
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
    backend: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto",
        description="What runs the network. auto: TensorFlow on a GPU; on a CPU OpenVINO where it "
        "is installed and faster over the first cutouts.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of OpenVINO's numbers. bfloat16 is twice as fast on CPUs that have it, moves "
        "scores by up to 0.01, and is float32 elsewhere.",
    )

    @model_validator(mode="after")
    def _bfloat16_is_openvinos(self):
        if self.precision == "bfloat16" and self.backend == "tensorflow":
            raise ValueError("precision: bfloat16 is OpenVINO's; set backend to auto or openvino")
        return self
