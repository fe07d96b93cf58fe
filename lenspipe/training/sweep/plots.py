"""Figure of a sweep."""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lenspipe.config.training import Range, Sweep
from lenspipe.plotting.style import BLUE, GREY, ORANGE, open_figure, plot_points

__all__ = ["plot_sweep"]

_COLUMNS = 3

#: Maximum number of distinct integers of a range that are plotted as categories.
_MAX_CATEGORIES = 12

#: Width over which trials with the same value are spread, in units of the categories' distance.
_SPREAD = 0.6


def plot_sweep(
    sweep: Sweep,
    table: pd.DataFrame,
    values: Sequence[dict[str, Any]],
    sample: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot completeness against each setting.

    Parameters
    ----------
    table
        A row per trial, with the columns of sweep.csv.
    values
        For each trial key -> value.
    sample
        Description of the galaxies on which the trials were measured.
    path
        Of the PNG.
    """
    keys = list(sweep.settings)
    n_columns = min(_COLUMNS, len(keys))
    n_rows = math.ceil(len(keys) / n_columns)
    failed = int((table["status"] == "failed").sum())
    note = f"; {failed} of {len(table)} failed" if failed else ""
    title = f"{len(table)} trials on {sample} of the validation split{note}"
    with open_figure(path, max(4.2 * n_columns, 6), 3.4 * n_rows + 0.9, title) as figure:
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
        for key, axes in zip(keys, panels.flat, strict=False):
            x = _set_up_axis(axes, sweep.settings[key], [chosen[key] for chosen in values])
            _plot_trials(axes, x, table)
            axes.set_xlabel(key)
        for axes in panels.flat[len(keys) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel(f"completeness at {100 * sweep.fpr:g} % false positives")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _set_up_axis(axes: Axes, choices: list | Range, values: Sequence[Any]) -> np.ndarray:
    """Set up the axis of a setting; return the position of each trial on it, shape (N,)."""
    if isinstance(choices, Range):
        as_categories = choices.is_whole and len(set(values)) <= _MAX_CATEGORIES
        if not as_categories:
            axes.set_xscale("log" if choices.log else "linear")
            return np.array(values, np.float64)
    # Values of a list, and a few distinct integers, are categories; trials with the same value are
    # placed side by side.
    numbers = {_format_value(value): value for value in values if _is_number(value)}
    texts = sorted(
        {_format_value(value) for value in values}, key=lambda text: (numbers.get(text, 0), text)
    )
    places = np.array([texts.index(_format_value(value)) for value in values])
    counts = np.bincount(places, minlength=len(texts))
    rank = np.array([(places[:i] == place).sum() for i, place in enumerate(places)])
    offset = (rank + 0.5) / counts[places] - 0.5
    axes.set_xticks(range(len(texts)), texts)
    axes.set_xlim(-0.5, len(texts) - 0.5)
    return places + _SPREAD * offset


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _format_value(value: Any) -> str:
    if _is_number(value):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _plot_trials(axes: Axes, x: np.ndarray, table: pd.DataFrame) -> None:
    columns = [table[name].to_numpy(np.float64) for name in ("completeness", "low", "high")]
    best = (table["rank"] == 1).fillna(False).to_numpy(bool)
    done = (table["status"] == "done").to_numpy() & ~best
    pruned = (table["status"] == "pruned").to_numpy()
    for mask, marker, colour, label in (
        (done, "o", BLUE, "trial, with 95 % interval"),
        (pruned, "x", GREY, "pruned, at its last epoch"),
        (best, "D", ORANGE, "best trial"),
    ):
        if mask.any():
            value, low, high = (column[mask] for column in columns)
            if mask is pruned:
                low = high = value
            plot_points(axes, x[mask], value, low, high, colour=colour, marker=marker, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.grid()
