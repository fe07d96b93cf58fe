"""The figure of false-positive rates, and of yield and purity of the candidates."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from lenspipe.plotting.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    mark_threshold,
    open_figure,
    plot_band,
)

__all__ = ["plot_purity"]

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)

#: Lowest threshold shown.
_LOWEST = 0.001


def plot_purity(
    table: pd.DataFrame, summary: dict, path: str | os.PathLike[str], band: str
) -> None:
    """Plot rates against the threshold by properties of the galaxies, yield and purity.

    Table and summary are the contents of ``purity.csv`` and ``purity.json``; `band` is that of
    exposures and magnitudes.
    """
    with open_figure(path, 17, 8.4) as figure:
        panels = figure.subplots(2, 4)
        _plot_all(panels[0, 0], table, summary)
        for axes, group, title in (
            (panels[0, 1], "type", "Tractor type"),
            (panels[0, 2], "region", "region"),
            (panels[0, 3], "bricks", "bricks, by use in training"),
            (panels[1, 0], "exposures", f"exposures in {band}"),
            (panels[1, 1], "magnitude", f"{band} magnitude"),
        ):
            values = table[table["group"] == group].groupby("value", sort=False)
            for (value, rows), colour in zip(values, COLOURS, strict=False):
                _plot_rate(axes, rows, colour, f"{value} ({rows['n'].iloc[0]:,})")
            axes.set_title(title)
        _plot_yield(panels[1, 2], summary)
        _plot_purity(panels[1, 3], summary)
        top = max([0.99, *(row["threshold"] for row in summary["yield"] if row["n"])])
        for axes in panels.flat:
            if summary["cut"] is not None and summary["cut"] > 0:
                mark_threshold(axes, _log_odds(summary["cut"]), "", GREY)
            axes.set(xlim=(_log_odds(_LOWEST), _log_odds(top)), xlabel="threshold p")
            ticks = [tick for tick in _TICKS if _LOWEST <= tick <= top]
            axes.set_xticks([_log_odds(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
            axes.tick_params(axis="x", labelrotation=45)
            axes.grid()
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=8)
        for axes in panels[:, 0]:
            axes.set_ylabel("false-positive rate")
        # All rates share an axis that extends to half of the rate of a single galaxy.
        lowest = (summary["lowest_rate"] or 1e-3) / 2
        for axes in [*panels[0], *panels[1, :2]]:
            axes.set(yscale="log", ylim=(lowest, 1.3))


def _log_odds(p: ArrayLike) -> Any:
    """Coordinate of a threshold: its log odds, as scores crowd at both ends."""
    clipped = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
    return np.log10(clipped / (1 - clipped))


def _plot_rate(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Plot a rate with its interval, or the upper limit alone where none passes."""
    rows = rows[rows["n"] > 0]
    x, passes = _log_odds(rows["threshold"]), rows["passed"].to_numpy() > 0
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    rate = rows["rate"].to_numpy()
    plot_band(axes, x[passes], rate[passes], low[passes], high[passes], colour=colour, label=label)
    axes.plot(x[~passes], high[~passes], color=colour, lw=1, ls=":")


def _plot_all(axes: Axes, table: pd.DataFrame, summary: dict) -> None:
    """Plot the rates of all random galaxies of the search and of the held-out sample."""
    total = table[table["group"] == "all"]
    if len(total):
        _plot_rate(axes, total, BLUE, f"the search ({summary['n_random']:,})")
    rows = [row for row in summary["yield"] if row["held_out_rate"] is not None]
    if rows:
        x = _log_odds([row["threshold"] for row in rows])
        value, low, high = _with_interval(rows, "held_out_rate")
        value = np.where(value > 0, value, np.nan)
        plot_band(axes, x, value, low, high, colour=ORANGE, label="held-out sample")
    if summary["lowest_rate"]:
        axes.axhline(summary["lowest_rate"], color=GREY, lw=0.8, ls="-.", label="one galaxy")
    axes.set_title("random galaxies (dotted: none passes)")


def _plot_yield(axes: Axes, summary: dict) -> None:
    """Plot the number of galaxies above each threshold, with the expected numbers."""
    rows = summary["yield"]
    x = _log_odds([row["threshold"] for row in rows])
    axes.plot(x, [row["n"] or np.nan for row in rows], color="black", lw=1.8, label="galaxies")
    axes.plot(x, [row["n_known"] or np.nan for row in rows], color=GREEN, label="known lenses")
    for name, colour, label in (
        ("lenses", BLUE, "expected lenses"),
        ("false", ORANGE, "expected false positives"),
    ):
        _plot_expected(axes, rows, x, name, colour, label)
    if summary["graded"]:
        axes.plot(
            x, [row.get("n_ABC") or np.nan for row in rows], "k.", ms=3, label="graded A to C"
        )
    highest = max((row["n"] for row in rows), default=1)
    axes.set(yscale="log", ylim=(0.1, 2 * max(highest, 1)), ylabel="number", title="yield")


def _plot_purity(axes: Axes, summary: dict) -> None:
    """Plot expected purity above each threshold, mean probability and fraction graded A to C."""
    rows = [row for row in summary["yield"] if row["n"]]
    x = _log_odds([row["threshold"] for row in rows])
    _plot_expected(axes, rows, x, "purity", BLUE, f"expected, prior {summary['prior']:g}")
    if any(row["sky_lenses"] for row in rows):
        sky = [row["sky_lenses"] / row["n"] for row in rows]
        axes.plot(x, sky, color=ORANGE, label="mean probability on the sky")
    graded = [row for row in rows if row.get("n_graded")]
    if graded:
        value, low, high = _with_interval(graded, "part_ABC")
        x = _log_odds([row["threshold"] for row in graded])
        plot_band(axes, x, value, low, high, colour="black", label="graded A to C, of those graded")
    axes.set(yscale="log", ylim=(1e-5, 1.3), ylabel="fraction of lenses", title="purity above p")


def _plot_expected(
    axes: Axes, rows: Sequence[dict], x: np.ndarray, name: str, colour: str, label: str
) -> None:
    """Plot a quantity and its interval, where it was measured."""
    value, low, high = _with_interval(rows, name)
    if (np.isfinite(high) & np.isfinite(low)).any():
        plot_band(
            axes, x, np.where(value > 0, value, np.nan), low, high, colour=colour, label=label
        )


def _with_interval(rows: Sequence[dict], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    value, low, high = (
        np.array([row[f"{name}{end}"] for row in rows], float) for end in ("", "_low", "_high")
    )
    return value, low, high
