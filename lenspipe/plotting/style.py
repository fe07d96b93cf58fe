"""The common style of all figures: colours, grid, values with intervals, and how they are saved."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from lenspipe.utils.files import atomic

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "format_tick",
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

_RC_PARAMS: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 10,
    "grid.color": "0.92",
    "legend.fontsize": 9,
    "legend.framealpha": 0.9,
    "savefig.dpi": 120,
}
#: An axis over a smaller factor than this has ticks at 1, 2 and 5 times the powers of ten.
_FEW_DECADES = 30


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
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _label_with_numbers(axis)
        save(figure, path)


def _label_with_numbers(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis with numbers, such as 0.01 and 200."""
    scale = axis.get_scale()
    if scale not in ("log", "symlog"):
        return
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    axis.set_minor_formatter(NullFormatter())
    low, high = sorted(axis.get_view_interval())
    if scale == "log" and high < _FEW_DECADES * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def format_tick(value: float) -> str:
    """Format the value of a tick as a number: a power of ten only beyond a million or 1e-5."""
    if value == 0 or 1e-5 <= abs(value) < 1e6:
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


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
