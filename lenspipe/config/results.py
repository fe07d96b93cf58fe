"""Sections on what comes of the scores."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lenspipe.config.base import Fraction, Positive, PositiveInt, Section, as_list
from lenspipe.config.learning import Catalogues

_WHOLE = ("number", "inspect")


class Threshold(Section):
    """Which galaxies are candidates; a number alone is a probability (docs/candidates.md)."""

    by: Literal["probability", "number", "inspect", "fraction", "false_positive_rate"] = Field(
        "probability",
        description="What the value is: the least probability; how many galaxies; how many systems "
        "people can look at; which part of the galaxies; which part of the held-out random "
        "non-lenses may pass.",
    )
    value: Annotated[float, Field(ge=0)] = Field(0.9, description="How much of that.")
    per: tuple[Literal["region", "type"], ...] = Field(
        (), description="Apply it by itself in each region, in each Tractor type, or in both."
    )

    @field_validator("per", mode="before")
    @classmethod
    def _one_as_list(cls, value):
        return as_list(value)

    @model_validator(mode="after")
    def _fits(self):
        if self.by in _WHOLE:
            if self.value < 1 or self.value % 1:
                raise ValueError(f"value: found {self.value:g}, by {self.by} it is a whole number")
        elif self.value > 1:
            raise ValueError(
                f"value: found {self.value:g}, by {self.by} it must be less than or equal to 1"
            )
        elif self.value == 0 and self.by != "probability":
            raise ValueError(f"value: found 0, by {self.by} it must be greater than 0")
        return self

    def __str__(self):
        text = {
            "probability": f"p ≥ {self.value:g}",
            "number": f"the {self.value:,.0f} most probable galaxies",
            "inspect": f"the {self.value:,.0f} most probable systems",
            "fraction": f"the most probable {100 * self.value:g} % of galaxies",
            "false_positive_rate": f"false-positive rate ≤ {self.value:g}",
        }[self.by]
        return text + (f", per {' and '.join(self.per)}" if self.per else "")


class Candidates(Section):
    """From scores to candidates."""

    threshold: Threshold = Field(
        Threshold(), description="Which galaxies are candidates; a number is the least probability."
    )
    merge_radius_arcsec: Positive = Field(
        5.0, description="Candidates nearer to each other than this are one, arcsec."
    )
    known: Literal["show", "hide"] = Field(
        "show",
        description="Whether known lenses are ranked and drawn with the others, or only kept at "
        "the end of the tables.",
    )
    redshifts: tuple[str, ...] = Field(
        (),
        description="Tables of redshifts (FITS, CSV, TSV, ECSV), matched by release, brickid and "
        "objid, else by position; of several the first that has one, spectroscopic ones first.",
    )
    reject_flags: tuple[
        Literal["MISSING_BAND", "EDGE", "MASKED", "NONFINITE", "NO_EXPOSURE"], ...
    ] = Field(
        ("MISSING_BAND", "EDGE", "NONFINITE", "NO_EXPOSURE"),
        description="Flags of a cutout that keep its galaxy from being a candidate.",
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_as_probability(cls, value):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"value": value}
        if not isinstance(value, dict | Threshold):
            raise ValueError("expected a probability, or a section with by and value")
        return value

    @field_validator("redshifts", mode="before")
    @classmethod
    def _one_as_list(cls, value):
        return as_list(value)


class Mosaics(Section):
    """Pages of colour images for inspection."""

    stretch: Literal["viewer", "lupton"] = Field("viewer", description="Colour stretch.")
    panels: tuple[Literal["rgb", "g", "r", "i", "z", "residual"], ...] = Field(
        ("rgb",),
        min_length=1,
        description="What is shown of each galaxy: the first large, the others beside it at half "
        "its size; 'residual' is what a smooth elliptical model leaves.",
    )
    sort: Literal["p", "mag", "name"] = Field(
        "p",
        description="Order of the candidates' pages: most probable, or brightest in the reddest "
        "band first, or by name.",
    )
    columns: PositiveInt = Field(
        6,
        description="Galaxies in a row if one panel is shown, fewer if more are. Six are 1,276 "
        "pixels wide.",
    )
    rows: PositiveInt = Field(6, description="Rows of a page.")
    per_brick: bool = Field(
        False,
        description="Whether each brick also gets a mosaic. One brick's can be asked for by name "
        "in any case.",
    )
    brick_tiles: PositiveInt = Field(36, description="Most galaxies in a brick's mosaic.")

    @field_validator("panels")
    @classmethod
    def _check_panels(cls, panels):
        if len(set(panels)) < len(panels):
            raise ValueError("a panel is named twice; name each once")
        return panels

    @property
    def per_row(self):
        """Galaxies in a row: panels beside the first are half as wide, two above each other."""
        return max(1, 2 * self.columns // (2 + len(self.panels) // 2))

    @property
    def per_page(self):
        """Galaxies on a page."""
        return self.rows * self.per_row


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
