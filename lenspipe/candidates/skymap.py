"""A map of the sky with the searched area and the candidates."""

import json
import os

import numpy as np
import pandas as pd

from lenspipe.candidates.area import area_deg2, coverage_map, format_area, searched_bricks
from lenspipe.config.settings import Settings
from lenspipe.plotting.figures import plot_brick_states
from lenspipe.plotting.model_figures import plot_note
from lenspipe.plotting.style import BLUE, ORANGE
from lenspipe.products.candidates import read_candidates
from lenspipe.products.provenance import made_with
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["plot_sky_map", "write_sky_map"]


def write_sky_map(settings: Settings) -> None:
    """Write the searched area, ``searched.fits`` and ``.json``, and plot it with the candidates.

    Raises
    ------
    LenspipeError
        The candidates have not been selected yet.
    """
    paths = settings.paths
    brick_deg = settings.release.brick_deg
    grid = brick_grid(brick_deg)
    bricks, table = searched_bricks(paths, grid), read_candidates(paths.candidates)
    moc = coverage_map(bricks, grid)
    with atomic(paths.candidate_file("searched.fits")) as temporary:
        moc.save(temporary, format="fits", overwrite=True, fits_keywords=made_with(settings))
    with atomic(paths.candidate_file("searched.json")) as temporary:
        temporary.write_text(json.dumps(moc.serialize("json")) + "\n")
    noun = "targets" if settings.targets else f"candidates, {settings.candidates.threshold}"
    area = area_deg2(bricks, brick_deg)
    size = f"{len(bricks):,} bricks, {format_area(area)}"
    title = f"{settings.run}: {len(table):,} {noun}\n{size}"
    plot_sky_map(bricks, table, brick_deg, title, paths.candidate_file("sky.png"))
    log.info("sky: %s searched", size)


def plot_sky_map(
    bricks: pd.DataFrame,
    table: pd.DataFrame,
    brick_deg: float,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot bricks and candidates, East to the left; a wide area on a map of the whole sky.

    Bricks are those of `lenspipe.candidates.area.searched_bricks`; candidates have columns ra, dec
    (degrees) and known (bool).
    """
    if bricks.empty:
        plot_note("No brick was searched.", path)
        return
    known = table["known"].to_numpy(bool)
    plot_brick_states(
        bricks["ra"],
        bricks["dec"],
        {"searched bricks": (np.ones(len(bricks), bool), "0.85")},
        brick_deg,
        path,
        galaxies={
            "known lenses": (table[known], ORANGE),
            "other candidates": (table[~known], BLUE),
        },
        title=title,
    )
