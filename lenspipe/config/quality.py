"""Sections on how good the search is."""

from typing import Annotated

from pydantic import Field, field_validator

from lenspipe.config.base import Positive, Section


class Selection(Section):
    """The selection function: which lenses the search would find."""

    number: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Lenses painted onto galaxies of the search to measure completeness with. 0: "
        "none.",
    )
    theta_e_range: tuple[Positive, Positive] = Field(
        (0.5, 4.0), description="Einstein radii of painted lenses, drawn evenly, arcsec."
    )
    source_mag_range: tuple[Positive, Positive] = Field(
        (21.0, 26.5),
        description="g magnitudes of painted lenses' sources, drawn evenly; arcs are brighter by 1 "
        "to 2.",
    )

    @field_validator("theta_e_range", "source_mag_range")
    @classmethod
    def _ordered(cls, value):
        if value[0] >= value[1]:
            raise ValueError("the first number must be below the second")
        return value


class Expected(Section):
    """How many lenses the search should find."""

    population: str | None = Field(
        None,
        description="Table of a lens population (FITS, CSV, Parquet). None: the simulated sky's "
        "truth, or a simple model of the real one.",
    )


class Checks(Section):
    """Standing checks of a run."""
