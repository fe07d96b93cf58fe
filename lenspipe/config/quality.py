"""Sections on the quality of the search."""

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from lenspipe.config.base import Fraction, PathText, Positive, PositiveInt, Section


def _increasing(edges: Sequence[float]) -> Sequence[float]:
    if any(high <= low for low, high in itertools.pairwise(edges)):
        raise ValueError("edges of bins must increase")
    return edges


Edges = Annotated[list[float], Field(min_length=2), AfterValidator(_increasing)]

Bins = PositiveInt | Edges


class Selection(Section):
    """The selection function: the completeness of the search for lenses of given properties."""

    number: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Number of lenses injected into galaxies of the search to measure its "
        "completeness. 0: not measured.",
    )
    theta_e_range: tuple[Positive, Positive] = Field(
        (0.5, 6.0),
        description="Range of Einstein radii of injected lenses, drawn uniformly, arcsec.",
    )
    arc_mag_range: tuple[Positive, Positive] = Field(
        (19.5, 25.0),
        description="Range of g magnitudes of the arcs of injected lenses, all images together, "
        "drawn uniformly.",
    )
    brightness: Literal["arc_snr", "arc_mag"] = Field(
        "arc_snr",
        description="Measure of the brightness of arcs: signal-to-noise ratio, or magnitude in the "
        "first band.",
    )
    theta_e_bins: Bins = Field(
        5,
        description="Bins of the Einstein radius in the table of cells: a number of bins, uniform "
        "in the logarithm, or their edges, arcsec.",
    )
    brightness_bins: Bins = Field(
        5,
        description="Bins of the brightness of arcs: a number of bins, uniform in log(1 + "
        "signal-to-noise) or in magnitude, or their edges.",
    )
    seeing_bins: Bins = Field(
        2,
        description="Bins of the seeing: a number of bins, with equal numbers of lenses, or their "
        "edges, arcsec.",
    )
    depth_bins: Bins = Field(2, description="Bins of the depth, likewise, mag.")
    mag_bins: Bins = Field(2, description="Bins of the lens's magnitude, likewise.")

    @field_validator("theta_e_range", "arc_mag_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("the first number must be below the second")
        return value


class Expected(Section):
    """The number of lenses that the search should find."""

    population: PathText | None = Field(
        None,
        description="Table of a lens population (docs/tables.md). None: the simulated sky's "
        "truth, or a simple model of the real one.",
    )
    area_deg2: Positive | None = Field(
        None,
        description="Area that the table represents, square degrees, if it has no column weight. "
        "None: in that case only the fraction of lenses found is given, and no number.",
    )
    draws: PositiveInt = Field(
        3000, description="Number of lenses of the model that are drawn and ray-traced."
    )


class Checks(Section):
    """Standing checks of a run."""

    level: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="Probability that a check is red by chance."
    )
    max_correlation: Fraction = Field(
        0.1,
        description="Depth leak: maximum rank correlation of the scores of random galaxies with "
        "exposures, depth or seeing.",
    )
    max_rate_ratio: Annotated[float, Field(ge=1)] = Field(
        3.0,
        description="Maximum ratio of the fractions of random galaxies with high scores: between "
        "the deepest and the shallowest third, and between regions.",
    )
    tail: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.05, description="Fraction of the random galaxies whose scores count as high."
    )
    max_sample_distance: Fraction = Field(
        0.2,
        description="Depth leak: maximum Kolmogorov-Smirnov distance between the sample's lenses "
        "and non-lenses in exposures, depth or seeing.",
    )
    max_drift: Positive = Field(
        0.5,
        description="Drift: maximum difference between the mean score of a brick and that of its "
        "neighbours, in standard deviations of single galaxies.",
    )
    neighbours: Annotated[int, Field(ge=4)] = Field(
        20, description="Drift: number of nearest bricks that a brick is compared with."
    )
    galaxies: Annotated[int, Field(ge=1000)] = Field(
        200_000, description="Maximum number of galaxies in memory, drawn at random."
    )
