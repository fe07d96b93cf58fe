"""Sections on what comes of the scores."""

from typing import Literal

from pydantic import Field

from lenspipe.config.base import Fraction, Positive, PositiveInt, Section


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
