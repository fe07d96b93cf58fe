"""The common style of all figures: colours, grid, values with intervals, and how they are saved."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lenspipe.utils.files import atomic

__all__ = [
    "BLUE",
    "COLOURS",
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
#: Colours of the curves of several groups.
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", GREY, "#F0E442")

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
    *,
    colour: str,
    step: Literal["pre", "post", "mid"] | None = None,
    label: str | None = None,
) -> None:
    """Plot a curve with its interval as a shaded band.

    Parameters
    ----------
    x, value, low, high
        Shape (N,); gaps where a value is None or NaN.
    step
        For a curve of steps: the argument ``step`` of `matplotlib.axes.Axes.fill_between`.
    label
        In the legend.
    """
    x, value, low, high = (np.asarray(values, float) for values in (x, value, low, high))
    axes.fill_between(x, low, high, step=step, color=colour, alpha=0.2, lw=0)
    drawstyle = f"steps-{step}" if step else "default"
    axes.plot(x, value, color=colour, lw=1.8, drawstyle=drawstyle, label=label)


def plot_points(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    colour: str,
    horizontal: bool = False,
    **line: Any,
) -> None:
    """Plot points with their intervals as lines.

    Parameters
    ----------
    x, value, low, high
        Shape (N,), or numbers for a single point; gaps where a value is None or NaN.
    horizontal
        Whether values are on the horizontal axis and `x` on the vertical one.
    **line
        Arguments of `matplotlib.axes.Axes.plot`, such as marker and label, or ls for a line that
        connects the points.
    """
    x, value, low, high = (np.asarray(values, float) for values in (x, value, low, high))
    # Lines of intervals would lie below curves that are plotted earlier.
    (axes.hlines if horizontal else axes.vlines)(x, low, high, color=colour, lw=1.2, zorder=2)
    line = {"ls": "", "marker": "o", "ms": 5, "color": colour, **line}
    axes.plot(*((value, x) if horizontal else (x, value)), **line)


def mark_threshold(
    axes: Axes, value: float, label: str | None = None, colour: str = ORANGE
) -> None:
    """Mark a threshold on the horizontal axis by a dashed line.

    Parameters
    ----------
    label
        In the legend; says that it is a threshold, and its value, if not given.
    """
    label = f"threshold {value:g}" if label is None else label
    axes.axvline(value, color=colour, ls="--", lw=1, label=label)
