"""Figure of expected numbers and those found."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lenspipe.plotting.style import BLUE, GREY, ORANGE, open_figure, plot_band, plot_points

__all__ = ["plot_expected"]


def plot_expected(result: Mapping[str, Any], path: str | os.PathLike[str], band: str) -> None:
    """Plot the numbers in ``expected.json`` by Einstein radius and by the lens's magnitude."""
    labels = {"theta_e": "Einstein radius (arcsec)", "mag": f"lens {band} magnitude"}
    title = f"Lenses expected and found: {result['verdict']}\npopulation: {result['population']}"
    with open_figure(path, 10, 4.8, title) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for panel, (name, label) in zip(axes, labels.items(), strict=True):
            rows = [row for row in result["bins"] if row["quantity"] == name]
            panel.set_xlabel(label)
            panel.grid()
            if rows:
                _plot_bins(panel, rows)
            else:
                message = "number of lenses unknown"
                panel.text(0.5, 0.5, message, transform=panel.transAxes, ha="center")
        axes[0].set_ylabel("lenses per bin")
        axes[0].set_ylim(0)
        # The right panel shows all that the left does.
        handles, names = axes[1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)


def _plot_bins(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Expected numbers as steps with bands, those found as points."""
    # The first and the last bin, which may be open, are plotted as wide as their neighbours.
    starts = np.array([row["from"] for row in rows], float)
    width = starts[2] - starts[1]
    if rows[0]["from"] == 0:
        starts[0] = max(starts[1] - width, 0)
    edges = np.append(starts, starts[-1] + (starts[-1] - starts[-2]))
    centres = (edges[1:] + edges[:-1]) / 2

    def values(key: str) -> np.ndarray:
        return np.array([row.get(key) for row in rows], float)

    def steps(key: str) -> np.ndarray:
        """Values at the edges, the last one twice."""
        return np.append(values(key), values(key)[-1])

    if not np.array_equal(steps("systematic_high"), steps("high")):
        axes.fill_between(
            edges, steps("systematic_low"), steps("systematic_high"), step="post", color=BLUE,
            alpha=0.12, lw=0, label="with the population's uncertainty",
        )  # fmt: skip
    expected = (steps(key) for key in ("expected", "low", "high"))
    plot_band(axes, edges, *expected, colour=BLUE, step="post", label="expected, 95 % interval")
    if "true" in rows[0]:
        axes.stairs(values("n"), edges, color=GREY, lw=1, ls="--", label="lenses searched")
    found = [values(f"found{end}") for end in ("", "_low", "_high")]
    if np.isfinite(found[0]).any():
        plot_points(axes, centres, *found, colour=ORANGE, label="lenses among candidates")
    if "true" in rows[0]:
        axes.plot(centres, values("true"), "x", color="black", ms=7, label="true lenses found")
    axes.set_xlim(edges[0], edges[-1])
