"""Figure of a sweep."""

import json
import math

import numpy as np
from matplotlib.figure import Figure

from lenspipe.config.training import Range
from lenspipe.plotting.figures import BLUE, GREY, ORANGE, save

__all__ = ["draw_sweep"]

_COLUMNS = 3

#: Most whole numbers of a range that are drawn as categories.
_FEW = 12

#: Width over which trials with the same value are spread, in distances of categories.
_SPREAD = 0.6


def draw_sweep(sweep, table, chosen, what, path):
    """Draw completeness against each setting.

    Parameters
    ----------
    sweep : lenspipe.config.training.Sweep
    table : pandas.DataFrame
        A row per trial, with the columns of sweep.csv.
    chosen : sequence of dict
        Of each trial key -> value.
    what : str
        On what the trials were measured.
    path : str or path-like
        The PNG.
    """
    keys = list(sweep.settings)
    n_columns = min(_COLUMNS, len(keys))
    n_rows = math.ceil(len(keys) / n_columns)
    figure = Figure(figsize=(max(4.2 * n_columns, 6), 3.4 * n_rows + 0.9), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    failed = int((table["status"] == "failed").sum())
    note = f"; {failed} of {len(table)} failed" if failed else ""
    figure.suptitle(f"{len(table)} trials on {what} of the validation split{note}", fontsize=10)
    for key, axes in zip(keys, panels.flat, strict=False):
        x = _place(axes, sweep.settings[key], [values[key] for values in chosen])
        _draw_trials(axes, x, table)
        axes.set_xlabel(key)
    for axes in panels.flat[len(keys) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(f"completeness at {100 * sweep.fpr:g} % false positives")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    save(figure, path)


def _place(axes, choices, values):
    """Prepare the axis of a setting; return where each trial is on it, shape (N,)."""
    is_range = isinstance(choices, Range)
    if is_range and not (choices.is_whole and len(set(values)) <= _FEW):
        axes.set_xscale("log" if choices.log else "linear")
        return np.array(values, np.float64)
    # Values of a list, and few whole numbers, are categories; trials that share one stand side by
    # side.
    numbers = {_text(value): value for value in values if _is_number(value)}
    texts = sorted(
        {_text(value) for value in values}, key=lambda text: (numbers.get(text, 0), text)
    )
    places = np.array([texts.index(_text(value)) for value in values])
    counts = np.bincount(places, minlength=len(texts))
    rank = np.array([(places[:i] == place).sum() for i, place in enumerate(places)])
    offset = (rank + 0.5) / counts[places] - 0.5
    axes.set_xticks(range(len(texts)), texts)
    axes.set_xlim(-0.5, len(texts) - 0.5)
    return places + _SPREAD * offset


def _is_number(value):
    return isinstance(value, float | int) and not isinstance(value, bool)


def _text(value):
    if _is_number(value):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _draw_trials(axes, x, table):
    value, low, high = (
        table[name].to_numpy(np.float64) for name in ("completeness", "low", "high")
    )
    best = (table["rank"] == 1).fillna(False).to_numpy(bool)
    done = (table["status"] == "done").to_numpy() & ~best
    pruned = (table["status"] == "pruned").to_numpy()
    for which, marker, colour, label in (
        (done, "o", BLUE, "trial, with 95 % interval"),
        (pruned, "x", GREY, "broken off, at its last epoch"),
        (best, "D", ORANGE, "best trial"),
    ):
        if which.any():
            axes.plot(x[which], value[which], marker, color=colour, ms=5.5, label=label, zorder=3)
        if marker != "x":
            axes.vlines(x[which], low[which], high[which], color=colour, lw=1, alpha=0.6)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(color="0.92")
