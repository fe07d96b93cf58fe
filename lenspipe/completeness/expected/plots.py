"""Figure of expected numbers and those found."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenspipe.plotting.figures import BLUE, GREY, ORANGE, save

__all__ = ["plot_expected"]


def plot_expected(result: Mapping[str, Any], path: str | os.PathLike[str], band: str) -> None:
    """Plot the numbers in ``expected.json`` by Einstein radius and by the lens's magnitude."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots(1, 2)
    labels = {"theta_e": "Einstein radius (arcsec)", "mag": f"lens {band} magnitude"}
    for panel, (name, label) in zip(axes, labels.items(), strict=True):
        rows = [row for row in result["bins"] if row["quantity"] == name]
        panel.set(xlabel=label, ylabel="lenses found")
        panel.grid(color="0.92")
        if rows:
            _plot_bins(panel, rows)
        else:
            panel.text(0.5, 0.5, "number of lenses unknown", transform=panel.transAxes, ha="center")
    # The right panel shows all that the left does.
    handles, names = axes[1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)
    figure.suptitle(f"{result['population']}\n{result['verdict']}")
    save(figure, path)


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
        return np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)

    for low, high, alpha, label in (
        ("systematic_low", "systematic_high", 0.12, "with the population's uncertainty"),
        ("low", "high", 0.3, "95 % interval"),
    ):
        if high != "high" and np.array_equal(values(high), values("high")):
            continue
        lower, upper = (np.append(values(key), values(key)[-1]) for key in (low, high))
        axes.fill_between(
            edges, lower, upper, step="post", color=BLUE, alpha=alpha, lw=0, label=label
        )
    axes.stairs(values("expected"), edges, color=BLUE, lw=1.8, label="expected")
    if "true" in rows[0]:
        axes.stairs(values("n"), edges, color=GREY, lw=1, ls="--", label="lenses searched")
    found = values("found")
    if np.isfinite(found).any():
        errors = np.abs(np.stack([found - values("found_low"), values("found_high") - found]))
        axes.errorbar(
            centres, found, errors, fmt="o", color=ORANGE, ms=5, capsize=2,
            label="lenses among candidates",
        )  # fmt: skip
    if "true" in rows[0]:
        axes.plot(centres, values("true"), "x", color="black", ms=7, label="true lenses found")
    axes.set_ylim(0)
    axes.set_xlim(edges[0], edges[-1])
