"""The population of a brick: scenes, faint galaxies and stars, placed on the sky."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from lenspipe.config.data import Simulation
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import Scene, field_galaxies, stars
from lenspipe.simulation.kinds import NON_LENSES, draw_non_lens
from lenspipe.simulation.lenses import Lens, draw_lenses

__all__ = ["COMPONENT_COLUMNS", "draw_population", "effective_shape"]

#: Columns of the sources of a brick.
SOURCE_COLUMNS = (
    "number", "kind", "scene", "ra", "dec", "redshift", "sersic", "r_half", "e1", "e2",
    *(f"flux_{band}" for band in BANDS),
)  # fmt: skip

#: Columns of the components of a brick.
COMPONENT_COLUMNS = (
    "number", "profile", "ra", "dec", "sersic", "r_half", "e1", "e2", "texture",
    *(f"flux_{band}" for band in BANDS),
)  # fmt: skip


def draw_population(
    seed: int, brick: Mapping[str, Any], simulation: Simulation
) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, Lens]]:
    """Draw all sources of one brick; the same seed and brick give the same sources.

    Parameters
    ----------
    seed
        Seed of the run.
    brick
        ``brickid``, ``ra1``, ``ra2``, ``dec1``, ``dec2`` (degrees).
    simulation
        Numbers of sources of each class.

    Returns
    -------
    sources : pandas.DataFrame
        A row per source: number, kind, scene (number of the scene's first source; -1 for the field
        and stars), ra, dec, redshift, sersic, r_half (arcsec), e1, e2 (Tractor's convention),
        flux_g, flux_r, flux_z (nanomaggies, all components of the source).
    components : pandas.DataFrame
        Components to paint, with the number of their source; columns `COMPONENT_COLUMNS`.
    lenses : dict
        Number of a source -> its lens.
    """
    rng = np.random.default_rng([seed, int(brick["brickid"]), 1])
    names, weights = list(NON_LENSES), np.array(list(NON_LENSES.values()))
    kinds = rng.choice(names, rng.poisson(simulation.galaxies_per_brick), p=weights / weights.sum())
    scenes = [draw_non_lens(rng, kind) for kind in kinds]
    number = rng.poisson(simulation.lenses_per_brick)
    lenses = draw_lenses(rng, number) if number else []
    scenes += [lens.scene for lens in lenses]
    sources: list[dict[str, Any]] = []
    components: list[dict[str, Any]] = []
    by_number = {}
    for i, scene in enumerate(scenes):
        if (lens := i - len(kinds)) >= 0:
            by_number[len(sources)] = lenses[lens]
        _place(scene, *_position(rng, brick), sources, components)
    faint = field_galaxies(rng, rng.poisson(simulation.faint_per_brick))
    faint |= {"redshift": rng.uniform(0.3, 1.5, len(faint["sersic"]))}
    tables = [pd.DataFrame(sources)], [pd.DataFrame(components)]
    begin = len(sources)
    for kind, field in (
        ("faint", faint),
        ("star", stars(rng, rng.poisson(simulation.stars_per_brick))),
    ):
        number = len(field["sersic"])
        table = pd.DataFrame(
            {"number": np.arange(begin, begin + number), "kind": kind, "scene": -1, "redshift": 0.0}
            | field
        )
        table["ra"] = brick["ra1"] + (brick["ra2"] - brick["ra1"]) * rng.random(number)
        table["dec"] = brick["dec1"] + (brick["dec2"] - brick["dec1"]) * rng.random(number)
        begin += number
        for target, columns in zip(tables, (SOURCE_COLUMNS, COMPONENT_COLUMNS), strict=True):
            target.append(table[list(columns)])
    every, parts = (pd.concat(table, ignore_index=True) for table in tables)
    return every[list(SOURCE_COLUMNS)], parts[list(COMPONENT_COLUMNS)], by_number


def _position(rng: Generator, brick: Mapping[str, Any]) -> tuple[float, float]:
    """Random position on a brick, degrees."""
    ra = brick["ra1"] + (brick["ra2"] - brick["ra1"]) * rng.random()
    return float(ra), float(brick["dec1"] + (brick["dec2"] - brick["dec1"]) * rng.random())


def _place(
    scene: Scene,
    ra: float,
    dec: float,
    sources: list[dict[str, Any]],
    components: list[dict[str, Any]],
) -> None:
    """Add the sources and components of a scene at a position on the sky, degrees."""
    first = len(sources)
    parts = [
        part
        | {
            "number": first + part["source"],
            "ra": ra - part["dx"] / 3600 / np.cos(np.radians(dec)),
            "dec": dec + part["dy"] / 3600,
        }
        for part in scene.components
    ]
    for number, kind in enumerate(scene.sources, first):
        of_source = [part for part in parts if part["number"] == number]
        sources.append(_source(of_source, kind, first, scene.redshift))
    components += parts


def _source(parts: list[dict[str, Any]], kind: str, scene: int, redshift: float) -> dict[str, Any]:
    """Row of a source that consists of some components."""
    total = {f"flux_{band}": sum(part[f"flux_{band}"] for part in parts) for band in BANDS}
    main = max(parts, key=lambda part: part["flux_r"])
    row = {"number": main["number"], "kind": kind, "scene": scene, "redshift": redshift}
    row |= {name: main[name] for name in ("ra", "dec", "e1", "e2")}
    return row | effective_shape(parts) | total


def effective_shape(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Half-light radius and Sersic index of the profile nearest to the sum of some components.

    Both are means by light: a bulge raises the index of a disc.
    """
    total = sum(part["flux_r"] for part in parts)
    return {
        name: sum(part["flux_r"] * part[name] for part in parts) / total
        for name in ("r_half", "sersic")
    }
