"""A map of the sky with what was searched and where the candidates are."""

import json

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lenspipe.candidates.area import area_deg2, coverage, searched_bricks
from lenspipe.plotting.figures import BLUE, GREY, ORANGE, save
from lenspipe.products.candidates import read_candidates
from lenspipe.survey.bricks import BRICK_DEG
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["draw_sky_map", "write_sky"]

#: Degrees from end to end, of right ascension or declination, from which on all the sky is drawn.
_WIDE_DEG = 60


def write_sky(settings):
    """Write the area searched, ``searched.fits`` and ``.json``, and draw it with the candidates.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Raises
    ------
    LenspipeError
        The candidates were not chosen yet.
    """
    paths = settings.paths
    bricks, table = searched_bricks(settings), read_candidates(settings.paths.candidates)
    moc = coverage(bricks)
    with atomic(paths.candidate_file("searched.fits")) as temporary:
        moc.save(temporary, format="fits", overwrite=True)
    with atomic(paths.candidate_file("searched.json")) as temporary:
        temporary.write_text(json.dumps(moc.serialize("json")) + "\n")
    what = "targets" if settings.targets else f"candidates, {settings.candidates.threshold}"
    title = (
        f"{settings.run}: {len(table):,} {what}\n{len(bricks):,} bricks, "
        f"{area_deg2(bricks):,.4g} square degrees"
    )
    draw_sky_map(bricks, table, title, paths.candidate_file("sky.png"))
    log.info("sky: %d bricks, %.4g square degrees searched", len(bricks), area_deg2(bricks))


def draw_sky_map(bricks, table, title, path):
    """Draw bricks and candidates, East to the left; a wide area on a map of the whole sky.

    Parameters
    ----------
    bricks : pandas.DataFrame
        As of `lenspipe.candidates.area.searched_bricks`.
    table : pandas.DataFrame
        Columns ra, dec (degrees) and known (bool).
    title : str
    path : str or path-like
        The PNG.
    """
    middle = _middle(bricks["ra"])
    extent = max(map(_extent, (_from(bricks["ra"], middle), bricks["dec"])))
    is_wide = extent > _WIDE_DEG
    # So that ticks are round numbers.
    centre = 30 * round(middle / 30) if is_wide else round(middle)
    away = _from(bricks["ra"], centre)
    x, y = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]).T / 2
    sides = np.clip(away[:, None] + x * bricks["width"].to_numpy()[:, None], -180, 180)
    ends = np.clip(bricks["dec"].to_numpy()[:, None] + y * BRICK_DEG, -90, 90)
    corners = np.stack([sides, ends], axis=-1)
    figure = Figure(figsize=(11, 6) if is_wide else (8, 7), layout="constrained")
    axes = figure.add_subplot(projection="hammer" if is_wide else None)
    unit = np.radians(1) if is_wide else 1
    # East is to the left.
    turned = corners * [-unit, unit]
    if is_wide:
        # A brick is a pixel here; hundreds of thousands of polygons would take minutes.
        axes.plot(*turned.mean(axis=1).T, "s", color="0.85", ms=1, mew=0)
    else:
        axes.add_collection(PolyCollection(turned, facecolor="0.85", edgecolor="0.7", lw=0.3))
    known = table["known"].to_numpy(bool)
    for label, chosen, colour in (
        (f"{known.sum():,} known lenses", known, ORANGE),
        (f"{(~known).sum():,} others", ~known, BLUE),
    ):
        rows = table[chosen]
        axes.plot(
            -unit * _from(rows["ra"], centre), unit * rows["dec"].to_numpy(), "o", color=colour,
            ms=2 if is_wide else 4, mew=0, alpha=0.8, label=label,
        )  # fmt: skip
    say_ra = FuncFormatter(lambda x, _: f"{np.mod(centre - x / unit, 360):.6g}°")
    axes.xaxis.set_major_formatter(say_ra)
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
    axes.legend(loc="upper right", framealpha=0.9, markerscale=1.5)
    save(figure, path)


def _middle(ra):
    """Middle of right ascensions on the circle, degrees."""
    angle = np.exp(1j * np.radians(np.asarray(ra, float)))
    return float(np.mod(np.degrees(np.angle(angle.sum())), 360)) if len(angle) else 180.0


def _extent(degrees):
    return np.ptp(degrees) if len(degrees) else 0.0


def _from(ra, centre):
    """Right ascensions from a centre, -180 to 180."""
    return np.mod(np.asarray(ra, float) - centre + 180, 360) - 180
