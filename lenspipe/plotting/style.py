"""The common style of all figures: colours, grid, values with intervals, and how they are saved."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lenspipe.utils.files import atomic

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "mark_threshold",
    "open_figure",
    "plot_band",
    "plot_points",
    "save",
]

#: Colour-blind safe colours (Okabe & Ito, https://jfly.uni-koeln.de/color/), and a neutral one.
BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#555555", "#009E73"

_RC_PARAMS: Any = {"grid.color": "0.92", "legend.framealpha": 0.9, "savefig.dpi": 120}


@contextlib.contextmanager
def open_figure(
    path: str | os.PathLike[str], width: float, height: float, title: str = ""
) -> Iterator[Figure]:
    """Provide a figure in the common style, and save it as a PNG when the block ends.

    Parameters
    ----------
    width, height
        Inches.
    title
        Above all panels.
    """
    with matplotlib.rc_context(_RC_PARAMS):
        figure = Figure(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(title, fontsize=11)
        yield figure
        save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure as a PNG, atomically; the same figure gives the same bytes."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=_RC_PARAMS["savefig.dpi"], metadata={"Software": None})


def plot_band(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    colour: str,
    *,
    label: str | None = None,
    alpha: float = 0.2,
    width: float = 1.8,
) -> None:
    """Plot a curve with its interval as a shaded band.

    Parameters
    ----------
    x, value, low, high
        Shape (N,); gaps where a value is None or NaN.
    label
        In the legend.
    alpha
        Opacity of the band.
    width
        Line width of the curve, points.
    """
    x, value, low, high = (np.asarray(values, float) for values in (x, value, low, high))
    axes.fill_between(x, low, high, color=colour, alpha=alpha, lw=0)
    axes.plot(x, value, color=colour, lw=width, label=label)


def plot_points(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    colour: str,
    *,
    marker: str = "o",
    size: float = 5,
    width: float = 1.2,
    zorder: float | None = None,
    **line: Any,
) -> None:
    """Plot points with their intervals as vertical lines.

    Parameters
    ----------
    x, value, low, high
        Shape (N,), or numbers for a single point.
    marker, size
        Of the points.
    width
        Line width of the intervals, points.
    zorder
        Of points and intervals.
    **line
        Further arguments of `matplotlib.axes.Axes.plot`, such as label, or ls for a line that
        connects the points.
    """
    x, value, low, high = (np.asarray(values, float) for values in (x, value, low, high))
    order: dict[str, Any] = {} if zorder is None else {"zorder": zorder}
    axes.vlines(x, low, high, color=colour, lw=width, **order)
    line = {"ls": "", "marker": marker, "ms": size, "color": colour, **order, **line}
    axes.plot(x, value, **line)


def mark_threshold(axes: Axes, value: float, label: str | None = None) -> None:
    """Mark a threshold on the horizontal axis by a dashed line.

    Parameters
    ----------
    label
        In the legend; says that it is a threshold, and its value, if not given.
    """
    label = f"threshold {value:g}" if label is None else label
    axes.axvline(value, color=ORANGE, ls="--", lw=1, label=label)
