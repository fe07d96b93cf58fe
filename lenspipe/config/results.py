"""Sections on what comes of the scores."""

from typing import Literal

from pydantic import Field, field_validator

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
