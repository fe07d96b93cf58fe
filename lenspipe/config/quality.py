"""Sections on how good the search is."""

from typing import Annotated

from pydantic import Field

from lenspipe.config.base import Section


class Selection(Section):
    """The selection function: which lenses the search would find."""

    number: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Lenses painted onto galaxies of the search to measure completeness with. 0: "
        "none.",
    )


class Expected(Section):
    """How many lenses the search should find."""

    population: str | None = Field(
        None,
        description="Table of a lens population (FITS, CSV, Parquet). None: the simulated sky's "
        "truth, or a simple model of the real one.",
    )


class Checks(Section):
    """Standing checks of a run."""
