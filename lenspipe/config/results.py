"""Sections on candidates, mosaics, inspection and the comparison with published candidates."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lenspipe.config.base import Fraction, PathText, Positive, PositiveInt, Section, as_list
from lenspipe.config.learning import Catalogue, Catalogues
from lenspipe.utils.files import is_path_part

#: Values of `Threshold.by` for which the value is a number of objects.
_COUNTS = ("number", "inspect")


class Threshold(Section):
    """The threshold for candidates; a number alone is a probability (docs/candidates.md)."""

    by: Literal["probability", "number", "inspect", "fraction", "false_positive_rate"] = Field(
        "probability",
        description="Meaning of the value. probability: minimum probability; number: number of "
        "galaxies; inspect: number of systems to inspect visually; fraction: fraction of the "
        "galaxies; false_positive_rate: fraction of held-out random non-lenses that may pass.",
    )
    value: Annotated[float, Field(ge=0)] = Field(
        0.9, description="Probability, number or fraction, as `by` says."
    )
    per: tuple[Literal["region", "type"], ...] = Field(
        (), description="Apply the threshold separately in each region, each Tractor type, or both."
    )

    @field_validator("per", mode="before")
    @classmethod
    def _single_as_list(cls, value: Any) -> Any:
        return as_list(value)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.by in _COUNTS:
            if self.value < 1 or self.value % 1:
                raise ValueError(
                    f"value: found {self.value:g}, by {self.by} it must be a whole number"
                )
        elif self.value > 1:
            raise ValueError(
                f"value: found {self.value:g}, by {self.by} it must be less than or equal to 1"
            )
        elif self.value == 0 and self.by != "probability":
            raise ValueError(f"value: found 0, by {self.by} it must be greater than 0")
        return self

    def __str__(self) -> str:
        text = {
            "probability": f"p ≥ {self.value:g}",
            "number": f"the {self.value:,.0f} most probable galaxies",
            "inspect": f"the {self.value:,.0f} most probable systems",
            "fraction": f"the most probable {100 * self.value:g} % of galaxies",
            "false_positive_rate": f"false-positive rate ≤ {self.value:g}",
        }[self.by]
        return text + (f", per {' and '.join(self.per)}" if self.per else "")


class Candidates(Section):
    """Selection of candidates by their scores."""

    threshold: Threshold = Field(
        Threshold(),
        description="Threshold for candidates; a number alone is the minimum probability.",
    )
    merge_radius_arcsec: Positive = Field(
        5.0, description="Linking length with which candidates are grouped into systems, arcsec."
    )
    known: Literal["show", "hide"] = Field(
        "show",
        description="Whether known lenses are ranked and shown with other candidates, or only "
        "listed at the end of the tables.",
    )
    redshifts: tuple[PathText, ...] = Field(
        (),
        description="Tables of redshifts (docs/tables.md), matched by release, brickid and "
        "objid, or else by position. The first redshift found is used; spectroscopic ones take "
        "precedence.",
    )
    reject_flags: tuple[
        Literal["MISSING_BAND", "EDGE", "MASKED", "NONFINITE", "NO_EXPOSURE"], ...
    ] = Field(
        ("MISSING_BAND", "EDGE", "NONFINITE", "NO_EXPOSURE"),
        description="Flags of a cutout that exclude its galaxy from the candidates.",
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_as_probability(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"value": value}
        if not isinstance(value, dict | Threshold):
            raise ValueError("expected a probability, or a section with by and value")
        return value

    @field_validator("redshifts", mode="before")
    @classmethod
    def _single_as_list(cls, value: Any) -> Any:
        return as_list(value)


class Mosaics(Section):
    """Pages of colour images for inspection."""

    stretch: Literal["viewer", "lupton"] = Field("viewer", description="Colour stretch.")
    panels: tuple[Literal["rgb", "g", "r", "i", "z", "residual"], ...] = Field(
        ("rgb",),
        min_length=1,
        description="Images of each galaxy: the first large, the others beside it at half its "
        "size; 'residual' is the image minus a smooth elliptical model.",
    )
    sort: Literal["p", "mag", "name"] = Field(
        "p",
        description="Order of candidates on the pages: by decreasing probability, by magnitude in "
        "the reddest band (brightest first), or by name.",
    )
    columns: PositiveInt = Field(
        6,
        description="Galaxies per row with one panel each, fewer with more panels. Six are 1,276 "
        "pixels wide.",
    )
    rows: PositiveInt = Field(6, description="Rows per page.")
    per_brick: bool = Field(
        False,
        description="Whether to make a mosaic of each brick, too. That of a single brick can "
        "always be requested by name.",
    )
    brick_tiles: PositiveInt = Field(
        36, description="Maximum number of galaxies in a brick's mosaic."
    )

    @field_validator("panels")
    @classmethod
    def _check_panels(cls, panels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(panels)) < len(panels):
            raise ValueError("a panel is named twice; name each once")
        return panels

    @property
    def per_row(self) -> int:
        """Galaxies per row: panels beside the first are half as wide, two above each other."""
        return max(1, 2 * self.columns // (2 + len(self.panels) // 2))

    @property
    def per_page(self) -> int:
        """Galaxies per page."""
        return self.rows * self.per_row


class Inspection(Section):
    """What the inspection portal shows around a candidate, on request."""

    wide_arcsec: float = Field(
        60.0, ge=20, le=300, description="Side of the wider field around a candidate, arcsec."
    )
    surveys: dict[str, str] = Field(
        {},
        description="Other surveys whose images are shown beside that field: name -> identifier "
        "of a HiPS, such as `PS1: CDS/P/PanSTARRS/DR1/color-i-r-g`. They need `pip install "
        "'lenspipe[surveys]'` and the internet.",
    )
    hips_server: str = Field(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits",
        description="Address of the service that cuts images out of HiPS.",
    )
    timeout_s: Positive = Field(
        10.0, description="Time after which such an image is given up, seconds."
    )


class Recovery(Section):
    """Comparison with published candidates: how many are scored and pass, and why others do not."""

    catalogs: Catalogues = Field(
        (),
        description="Catalogues of published candidates, or their paths. None: no comparison.",
    )
    radius_arcsec: Positive = Field(
        5.0,
        description="Maximum distance of a galaxy from an entry, and linking length with which "
        "entries are grouped into systems, arcsec.",
    )
    thresholds: tuple[Fraction, ...] = Field(
        (0.5, 0.7, 0.9),
        min_length=1,
        description="Minimum probabilities of entries that count as passed; an entry below the "
        "lowest has the reason `below threshold`.",
    )
    by: str = Field(
        "grade",
        description="Column of the catalogue, such as grade or region, by which entries are "
        "counted.",
    )
    sample: PathText | None = Field(
        None,
        description="Labelled sample that the model was trained on, sample/sample.parquet of "
        "another run. None: that of this run, if it has one.",
    )

    @field_validator("by")
    @classmethod
    def _in_lower_case(cls, value: str) -> str:
        return value.strip().lower()

    @field_validator("thresholds", mode="before")
    @classmethod
    def _single_as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | float) else value

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(value)))

    @field_validator("catalogs")
    @classmethod
    def _have_different_labels(cls, value: tuple[Catalogue, ...]) -> tuple[Catalogue, ...]:
        labels = [catalogue.label for catalogue in value]
        for label in labels:
            if not is_path_part(label) or labels.count(label) > 1 or {*label} & {*"{}"}:
                raise ValueError(
                    f"{label!r} can't name the files of a comparison, or names two; give the "
                    "catalogue another name"
                )
        return value
