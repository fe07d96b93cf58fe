"""Sections on what comes of the scores."""

from typing import Literal

from pydantic import Field, field_validator

from lenspipe.config.base import Fraction, Positive, PositiveInt, Section
from lenspipe.config.learning import Catalogues


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
    per_brick: bool = Field(
        False,
        description="Whether each brick also gets a mosaic. One brick's can be asked for by name "
        "in any case.",
    )
    brick_tiles: PositiveInt = Field(40, description="Most galaxies in a brick's mosaic.")


class Recovery(Section):
    """Comparison with published candidates: how many were scored, how many passed, why not more."""

    catalogs: Catalogues = Field(
        (),
        description="Published candidates to look for, or their paths. None: no comparison.",
    )
    radius_arcsec: Positive = Field(
        5.0,
        description="How far a galaxy may be from an entry, and entries that are one system from "
        "each other, arcsec.",
    )
    thresholds: tuple[Fraction, ...] = Field(
        (0.5, 0.7, 0.9),
        min_length=1,
        description="Probabilities at and above which an entry counts as passed; an entry below "
        "the lowest has the reason `below threshold`.",
    )
    by: str = Field(
        "grade", description="Column of the catalogue, such as grade or region, to count by."
    )
    sample: str | None = Field(
        None,
        description="Labelled sample that the model learnt from, sample/sample.parquet of another "
        "run. None: that of this run, if it has one.",
    )

    @field_validator("by")
    @classmethod
    def _in_lower_case(cls, value):
        return value.strip().lower()

    @field_validator("thresholds", mode="before")
    @classmethod
    def _one_as_list(cls, value):
        return [value] if isinstance(value, int | float) else value

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, value):
        return tuple(sorted(set(value)))

    @field_validator("catalogs")
    @classmethod
    def _called_differently(cls, value):
        labels = [catalogue.label for catalogue in value]
        for label in labels:
            if "/" in label or label.startswith(".") or labels.count(label) > 1:
                raise ValueError(
                    f"{label!r} can't name the files of a comparison, or names two; give the "
                    "catalogue another name"
                )
        return value
