"""Sections on how good the search is."""

import itertools
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from lenspipe.config.base import Fraction, Positive, PositiveInt, Section


def _rising(edges):
    """Refuse edges of bins that don't rise."""
    if any(high <= low for low, high in itertools.pairwise(edges)):
        raise ValueError("edges of bins have to rise")
    return edges


Edges = Annotated[list[float], Field(min_length=2), AfterValidator(_rising)]

Bins = PositiveInt | Edges


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
    lenses: Literal["real", "planted"] = Field(
        "real",
        description="What painted lenses are like in all but Einstein radius and brightness: any "
        "galaxies of the search, with sources as the real sky has them, anywhere behind; or as the "
        "simulated sky's lenses, whose galaxies also say which radius they may have.",
    )
    brightness: Literal["arc_snr", "arc_mag"] = Field(
        "arc_snr",
        description="What the arcs' brightness is measured by: signal-to-noise, or their magnitude "
        "in the first band.",
    )
    theta_e_bins: Bins = Field(
        5,
        description="Bins of the Einstein radius in the table of cells: how many, even in its "
        "logarithm, or their edges, arcsec.",
    )
    brightness_bins: Bins = Field(
        5,
        description="Bins of the arcs' brightness: how many, even in log(1 + signal-to-noise) or "
        "in magnitude, or their edges.",
    )
    seeing_bins: Bins = Field(
        2,
        description="Bins of the seeing: how many, with equal numbers of lenses, or their edges, "
        "arcsec.",
    )
    depth_bins: Bins = Field(2, description="Bins of the depth: likewise, mag.")
    mag_bins: Bins = Field(2, description="Bins of the lens's magnitude: likewise.")

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
    area_deg2: Positive | None = Field(
        None,
        description="Area that the table stands for, square degrees, where it has no column "
        "weight. None: then only the part that is found is said, and no number.",
    )
    draws: PositiveInt = Field(
        3000, description="Lenses of the model that are drawn and ray-traced."
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
