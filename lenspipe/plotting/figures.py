"""Figures of an evaluation and of the labelled sample."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lenspipe.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    mark_threshold,
    open_figure,
    plot_points,
)
from lenspipe.statistics.intervals import Estimate

__all__ = [
    "plot_brick_states",
    "plot_completeness",
    "plot_distributions",
    "plot_roc",
    "plot_scores",
    "plot_sky",
]

_SPLIT_COLOURS = {"train": BLUE, "validation": GREEN, "test": ORANGE}
# Footprints wider than this are plotted on the whole sky, degrees.
_WHOLE_SKY_DEG = 60


def plot_roc(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike[str],
    points: Iterable[tuple[float, float, float, float]] = (),
    cut: tuple[str, Estimate, Estimate] | None = None,
    title: str = "",
) -> None:
    """Plot ROC curves with a logarithmic and a linear axis of false positives.

    Parameters
    ----------
    curves
        Label -> (false-positive rate, completeness), each of shape (K,); one or two, the last is
        the main one.
    points
        True false-positive rate, completeness and its interval's ends, plotted on the main curve.
    cut
        Of the cut in use: description, false-positive rate and completeness with their intervals.
    """
    with open_figure(path, 10, 4.8, title) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        lowest = 0.01
        for (label, (fpr, completeness)), colour in zip(
            curves.items(), (GREY, BLUE)[-len(curves) :], strict=True
        ):
            for axes in (left, right):
                axes.step(fpr, completeness, where="post", color=colour, label=label, lw=1.8)
            lowest = min(lowest, fpr[fpr > 0].min())
        left.set(xscale="log", xlim=(lowest / 1.5, 1), ylabel="completeness", ylim=(0, 1.02))
        right.set(xlim=(0, 1))
        for point in points:
            plot_points(left, *point, colour=BLUE)
        if cut is not None:
            _plot_cut(left, *cut)
        right.plot([0, 1], [0, 1], color="0.75", lw=1)
        for axes in (left, right):
            axes.set_xlabel("false-positive rate")
            axes.grid()
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _plot_cut(axes: Axes, label: str, fpr: Estimate, completeness: Estimate) -> None:
    """Plot the cut in use with both intervals; at the upper end of the rate where it is 0."""
    if fpr[0] is None or completeness[0] is None:
        return
    x = fpr[0] or fpr[2]
    plot_points(axes, x, *completeness, colour=ORANGE, label=label)
    plot_points(axes, completeness[0], x, *fpr[1:], colour=ORANGE, horizontal=True)


def plot_completeness(
    panels: Sequence[Mapping[str, Any]],
    binned_at: str,
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Plot completeness against one or more properties.

    Parameters
    ----------
    panels
        ``bins`` (list of dict with ``from``, ``to``, ``n``, ``completeness``, ``low``, ``high``;
        the first begins at 0 and the last is open, ``to`` None: both are plotted as wide as their
        neighbours), ``label`` of the axis, ``title`` and whether the axis is ``log``.
    binned_at
        Describes the threshold on the scores.
    """
    with open_figure(path, 5 * len(panels), 4.6, title) as figure:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(row, panels, strict=True):
            _plot_bins(axes, panel["bins"], panel["log"])
            axes.set(xlabel=panel["label"], title=panel["title"])
        row[0].set(ylabel=f"completeness at {binned_at}", ylim=(0, 1.1))


def _plot_bins(axes: Axes, bins: Sequence[Mapping[str, Any]], log: bool) -> None:
    """Plot points with 95 % intervals over their bins, and the numbers of lenses above."""
    if log:
        axes.set_xscale("log")
    for bin_ in bins:
        if bin_["n"] == 0:
            continue
        low, high = bin_["from"], bin_["to"]
        if log:
            low = low or high / 2
            high = high or low * 2
            middle = np.sqrt(low * high)
        else:
            low = low or high - (bins[1]["to"] - bins[1]["from"])
            high = high or low + (bins[-2]["to"] - bins[-2]["from"])
            middle = (low + high) / 2
        value = bin_["completeness"]
        axes.hlines(value, low, high, color=BLUE, lw=1.8)
        plot_points(axes, middle, value, bin_["low"], bin_["high"], colour=BLUE)
        axes.text(middle, 1.05, bin_["n"], ha="center", va="center", fontsize=8, color=GREY)
    axes.axhline(1, color="0.75", lw=1)
    axes.grid()


def plot_scores(
    p: ArrayLike,
    kinds: ArrayLike,
    threshold: float,
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Plot histograms of the scores of lenses and non-lenses, and of each class of galaxies.

    Parameters
    ----------
    p
        Scores, shape (N,); negative where there is none (plotted as 0).
    kinds
        Class of each galaxy, shape (N,); ``lens`` for a lens.
    threshold
        Lowest score of a candidate.
    """
    scores, classes = np.clip(np.asarray(p, float), 0, 1), np.asarray(kinds, str)
    edges = np.linspace(0, 1, 41)
    names = sorted(
        set(classes.tolist()), key=lambda name: (name == "lens", scores[classes == name].mean())
    )
    counts = {name: np.histogram(scores[classes == name], edges)[0] for name in names}
    with open_figure(path, 11, 5, title) as figure:
        left, right = figure.subplots(1, 2)
        for label, mask, colour in (
            ("non-lenses", classes != "lens", GREY),
            ("lenses", classes == "lens", BLUE),
        ):
            left.hist(
                scores[mask], edges, histtype="step", lw=1.8, color=colour,
                label=f"{mask.sum()} {label}",
            )  # fmt: skip
        left.set(yscale="log", xlabel="score p", ylabel="galaxies per bin", xlim=(0, 1))
        fractions = np.array([counts[name] / counts[name].sum() for name in names])
        image = right.pcolormesh(
            edges,
            np.arange(len(names) + 1),
            np.where(fractions > 0, fractions, np.nan),
            norm=LogNorm(vmin=1e-3, vmax=1),
            cmap="viridis",
        )
        right.set_facecolor("0.96")
        labels = [f"{name.replace('_', ' ')} ({counts[name].sum()})" for name in names]
        right.set_yticks(np.arange(len(names)) + 0.5, labels)
        right.tick_params(axis="y", length=0)
        right.set(xlabel="score p", xlim=(0, 1))
        for axes in (left, right):
            mark_threshold(axes, threshold)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.colorbar(image, ax=right, label="fraction of the class per bin")


def plot_distributions(
    panels: Sequence[Mapping[str, Any]], columns: int, path: str | os.PathLike[str]
) -> None:
    """Plot how quantities are distributed among lenses and non-lenses.

    Parameters
    ----------
    panels
        ``lenses`` and ``others`` (arrays of values), ``label`` of the axis, ``title``, whether
        values are ``whole`` numbers and whether the title is ``marked``.
    columns
        Panels in a row.
    """
    n_rows = len(panels) // columns
    with open_figure(path, 4.2 * columns, 2.7 * n_rows) as figure:
        grid = figure.subplots(n_rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            axes.set_title(
                panel["title"], fontsize=10, color=ORANGE if panel["marked"] else "black"
            )
            axes.set(xlabel=panel["label"], yticks=[])
            everything = np.concatenate([panel["lenses"], panel["others"]])
            if len(everything) == 0:
                continue
            if panel["whole"]:
                edges = np.arange(everything.min() - 0.5, everything.max() + 1)
            else:
                low, high = np.quantile(everything, [0.002, 0.998])
                edges = np.linspace(low, high, 31)
            for name, label, style in (
                ("others", "non-lenses", {"histtype": "stepfilled", "color": "0.8"}),
                ("lenses", "lenses", {"histtype": "step", "lw": 1.6, "color": BLUE}),
            ):
                values = np.clip(panel[name], edges[0], edges[-1])
                weights = np.full(len(values), 1 / max(len(values), 1))
                axes.hist(values, edges, weights=weights, label=f"{len(values)} {label}", **style)
        for axes in grid[:, 0]:
            axes.set_ylabel("fraction of the class per bin")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=2)


def plot_sky(galaxies: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Plot the positions of lenses and non-lenses of each split; East is to the left.

    Parameters
    ----------
    galaxies
        Columns ra, dec (degrees), label (1 lens, 0 non-lens) and split. Where they spread over more
        than 60 degrees, the whole sky is shown (Mollweide projection).
    """
    x, y, centre = _project(galaxies["ra"], galaxies["dec"])
    with open_figure(path, 9, 5.4 if centre is not None else 7) as figure:
        axes = _sky_axes(figure, y, centre)
        lens, split = galaxies["label"].to_numpy() > 0.5, galaxies["split"].to_numpy()
        few = len(galaxies) < 20000
        for is_lens, style in (
            (False, {"s": 4 if few else 1, "alpha": 0.5, "lw": 0}),
            (True, {"s": 22 if few else 10, "edgecolor": "black", "lw": 0.5}),
        ):
            for name, colour in _SPLIT_COLOURS.items():
                mask = (lens == is_lens) & (split == name)
                if mask.any():
                    label = f"{name}: {mask.sum()} {'lenses' if is_lens else 'non-lenses'}"
                    axes.scatter(x[mask], y[mask], color=colour, label=label, **style)
        axes.set_axisbelow(True)
        _add_legend(figure, 2)


def plot_brick_states(
    ra: ArrayLike,
    dec: ArrayLike,
    states: Mapping[str, tuple[np.ndarray, str]],
    brick_deg: float,
    path: str | os.PathLike[str],
    *,
    galaxies: Mapping[str, tuple[pd.DataFrame, str]] | None = None,
    title: str = "",
) -> None:
    """Plot the state of bricks, and galaxies on them; East is to the left.

    Parameters
    ----------
    ra, dec
        Centres of the N bricks, degrees.
    states
        Label -> (bool array of shape (N,), colour); later ones are plotted on top.
    brick_deg
        Height of a brick, degrees.
    galaxies
        Label -> (table with the columns ra and dec, degrees; colour).
    """
    galaxies = galaxies or {}
    tables = [pd.DataFrame({"ra": ra, "dec": dec}), *(table for table, _ in galaxies.values())]
    positions = pd.concat(tables)[["ra", "dec"]]
    *projected, centre = _project(positions["ra"], positions["dec"])
    ends = np.cumsum([len(table) for table in tables])[:-1]
    (x, *galaxies_x), (y, *galaxies_y) = (np.split(values, ends) for values in projected)
    # Corners of each brick, whose sides follow the coordinates.
    dx, dy = brick_deg / 2 / np.cos(np.radians(dec)), np.full(len(y), brick_deg / 2)
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    corners = np.stack([x, y], -1)[:, None] + signs * np.stack([dx, dy], -1)[:, None]
    with open_figure(path, 9, 5.4 if centre is not None else 7, title) as figure:
        axes = _sky_axes(figure, y, centre)
        for label, (mask, colour) in states.items():
            if not mask.any():
                continue
            style: dict[str, Any] = {"facecolor": colour, "label": f"{label}: {mask.sum():,}"}
            if centre is not None:
                axes.scatter(x[mask], y[mask], s=1, lw=0, marker="s", **style)
            else:
                style |= {"edgecolor": "white", "lw": 0.5 if len(x) < 2000 else 0}
                axes.add_collection(PolyCollection(corners[mask], **style))
        axes.autoscale_view()
        for (label, (table, colour)), galaxy_x, galaxy_y in zip(
            galaxies.items(), galaxies_x, galaxies_y, strict=True
        ):
            style = {"color": colour, "lw": 0, "alpha": 0.8, "zorder": 2}
            label = f"{label}: {len(table):,}"
            axes.scatter(galaxy_x, galaxy_y, s=16 if centre is None else 4, label=label, **style)
        _add_legend(figure, 4)


def _add_legend(figure: Figure, columns: int) -> None:
    legend = figure.legend(loc="outside lower center", ncols=columns, fontsize=9)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set(sizes=[25])


def _project(ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Coordinates of positions (degrees) on a map.

    Returns
    -------
    x, y
        Radians from the map's centre, East to the left, on a map of the whole sky; else degrees,
        where right ascensions run continuously and may lie outside 0 to 360.
    centre
        Right ascension of the centre of a map of the whole sky, degrees; None for a smaller map.
    """
    ra, dec = np.asarray(ra, float) % 360, np.asarray(dec, float)
    # The middle of the footprint lies opposite the middle of the widest gap in right ascension.
    ordered = np.sort(ra)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    widest = gaps.argmax()
    middle = (ordered[widest] + gaps[widest] / 2 + 180) % 360
    whole_sky = max(360 - gaps[widest], np.ptp(dec)) > _WHOLE_SKY_DEG
    if whole_sky:
        middle = round(middle / 30) * 30
    east = (ra - middle + 180) % 360 - 180
    if whole_sky:
        return -np.radians(east), np.radians(dec), middle
    return middle + east, dec, None


def _sky_axes(figure: Figure, y: np.ndarray, centre: float | None) -> Axes:
    """Add the axes of a map; `y` and `centre` as returned by `_project`."""
    if centre is not None:
        axes = figure.add_subplot(projection="mollweide")
        axes.set_xticks(np.radians(np.arange(-120, 121, 60)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{(centre - np.degrees(x)) % 360:.0f}°")
        for label in axes.get_xticklabels():
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    else:
        axes = figure.add_subplot(aspect=1 / np.cos(np.radians(y.min() / 2 + y.max() / 2)))
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter(lambda x, _: f"{x % 360:.6g}")
        axes.set(xlabel="right ascension (degrees)", ylabel="declination (degrees)")
    axes.grid(color="0.9", lw=0.6)
    return axes
