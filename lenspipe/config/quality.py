"""Sections on how good the search is."""

from typing import Annotated

from pydantic import Field

from lenspipe.config.base import Fraction, Positive, Section


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

    level: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Chance that a check of a sound run is red."
    )
    max_correlation: Fraction = Field(
        0.1,
        description="Depth leak: largest rank correlation of the scores of random galaxies with "
        "exposures, depth or seeing.",
    )
    max_rate_ratio: Annotated[float, Field(ge=1)] = Field(
        3.0,
        description="Largest ratio of the rates of high scores among random galaxies: of the "
        "deepest and the shallowest third, and of two regions.",
    )
    tail: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.05, description="Part of the random galaxies that has a high score."
    )
    max_sample_distance: Fraction = Field(
        0.2,
        description="Depth leak: largest Kolmogorov-Smirnov distance between the sample's lenses "
        "and non-lenses in exposures, depth or seeing.",
    )
    max_drift: Positive = Field(
        0.5,
        description="Drift: most by which a brick's mean score may be off its neighbours', in "
        "standard deviations of single galaxies.",
    )
    neighbours: Annotated[int, Field(ge=4)] = Field(
        20, description="Drift: nearest bricks that a brick is compared with."
    )
    galaxies: Annotated[int, Field(ge=1000)] = Field(
        200_000, description="Most galaxies that are kept in memory, drawn at random."
    )
