"""A map of the sky with the searched area and the candidates."""

import json
import os

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from lenspipe.candidates.area import area_deg2, coverage_map, searched_bricks
from lenspipe.config.settings import Settings
from lenspipe.plotting.style import BLUE, GREY, ORANGE, open_figure
from lenspipe.products.candidates import read_candidates
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["plot_sky_map", "write_sky_map"]

# Areas wider than this in right ascension or declination are shown on a map of the whole sky.
_WIDE_DEG = 60


def write_sky_map(settings: Settings) -> None:
    """Write the searched area, ``searched.fits`` and ``.json``, and plot it with the candidates.

    Raises
    ------
    LenspipeError
        The candidates have not been selected yet.
    """
    paths = settings.paths
    bricks, table = searched_bricks(settings), read_candidates(paths.candidates)
    brick_deg = settings.release.brick_deg
    moc = coverage_map(bricks, brick_grid(brick_deg))
    with atomic(paths.candidate_file("searched.fits")) as temporary:
        moc.save(temporary, format="fits", overwrite=True)
    with atomic(paths.candidate_file("searched.json")) as temporary:
        temporary.write_text(json.dumps(moc.serialize("json")) + "\n")
    noun = "targets" if settings.targets else f"candidates, {settings.candidates.threshold}"
    area = area_deg2(bricks, brick_deg)
    title = (
        f"{settings.run}: {len(table):,} {noun}\n{len(bricks):,} bricks, {area:,.4g} square degrees"
    )
    plot_sky_map(bricks, table, brick_deg, title, paths.candidate_file("sky.png"))
    log.info("sky: %d bricks, %.4g square degrees searched", len(bricks), area)


def plot_sky_map(
    bricks: pd.DataFrame,
    table: pd.DataFrame,
    brick_deg: float,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot bricks and candidates, East to the left; a wide area on a map of the whole sky.

    Parameters
    ----------
    bricks
        As returned by `lenspipe.candidates.area.searched_bricks`.
    table
        Columns ra, dec (degrees) and known (bool).
    brick_deg
        Height of a brick, degrees.
    """
    middle = _circular_mean(bricks["ra"])
    extent = max(map(_extent, (_offset(bricks["ra"], middle), bricks["dec"])))
    is_wide = extent > _WIDE_DEG
    # Rounded, so that tick labels are round numbers.
    centre = 30 * round(middle / 30) if is_wide else round(middle)
    east = _offset(bricks["ra"], centre)
    x, y = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]).T / 2
    corners_east = np.clip(east[:, None] + x * bricks["width"].to_numpy()[:, None], -180, 180)
    corners_dec = np.clip(bricks["dec"].to_numpy()[:, None] + y * brick_deg, -90, 90)
    unit = np.radians(1) if is_wide else 1
    corners = np.stack([corners_east, corners_dec], axis=-1) * [-unit, unit]
    with open_figure(path, *((11, 6) if is_wide else (8, 7))) as figure:
        axes = figure.add_subplot(projection="hammer" if is_wide else None)
        if is_wide:
            # A brick is a pixel here; hundreds of thousands of polygons would take minutes.
            axes.plot(*corners.mean(axis=1).T, "s", color="0.85", ms=1, mew=0)
        else:
            axes.add_collection(PolyCollection(corners, facecolor="0.85", edgecolor="0.7", lw=0.3))
        known = table["known"].to_numpy(bool)
        for label, mask, colour in (
            (f"{known.sum():,} known lenses", known, ORANGE),
            (f"{(~known).sum():,} others", ~known, BLUE),
        ):
            rows = table[mask]
            axes.plot(
                -unit * _offset(rows["ra"], centre), unit * rows["dec"].to_numpy(), "o",
                color=colour, ms=2 if is_wide else 4, mew=0, alpha=0.8, label=label,
            )  # fmt: skip
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: f"{np.mod(centre - x / unit, 360):.6g}°")
        )
        if is_wide:
            axes.tick_params(axis="x", colors=GREY)
            axes.grid(color="0.8", lw=0.5)
        elif len(bricks):
            axes.autoscale_view()
            axes.set_aspect(1 / np.cos(np.radians(np.clip(bricks["dec"].mean(), -80, 80))))
        else:
            axes.text(0.5, 0.5, "No brick was searched.", transform=axes.transAxes, ha="center")
            axes.set(xticks=[], yticks=[])
        axes.set(xlabel="right ascension", ylabel="declination")
        axes.set_title(title, pad=20 if is_wide else None, fontsize=11)
        axes.legend(loc="upper right", markerscale=1.5)


def _circular_mean(ra: ArrayLike) -> float:
    """Mean direction of right ascensions, degrees."""
    angle = np.exp(1j * np.radians(np.asarray(ra, float)))
    return float(np.mod(np.degrees(np.angle(angle.sum())), 360)) if len(angle) else 180.0


def _extent(degrees: ArrayLike) -> float:
    degrees = np.asarray(degrees)
    return float(np.ptp(degrees)) if len(degrees) else 0.0


def _offset(ra: ArrayLike, centre: float) -> np.ndarray:
    """Right ascensions relative to a centre, -180 to 180 degrees."""
    return np.mod(np.asarray(ra, float) - centre + 180, 360) - 180
