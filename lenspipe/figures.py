"""Figures of an evaluation."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lenspipe.paths import atomic

__all__ = ["draw_completeness", "draw_roc", "draw_scores"]

# Okabe and Ito's colours, told apart by most eyes.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#555555"


def draw_roc(curves, path):
    """Draw ROC curves with a logarithmic and a linear axis of false positives.

    Parameters
    ----------
    curves : dict
        Label -> (false-positive rate, completeness), each of shape (K,).
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    lowest = 1.0
    for (label, (fpr, completeness)), colour in zip(curves.items(), (_GREY, _BLUE), strict=False):
        for axes in (left, right):
            axes.step(fpr, completeness, where="post", color=colour, label=label, lw=1.8)
        lowest = min(lowest, fpr[fpr > 0].min())
    left.set(xscale="log", xlim=(lowest / 1.5, 1), ylabel="completeness", ylim=(0, 1.02))
    right.set(xlim=(0, 1))
    left.axvline(0.01, color=_ORANGE, ls="--", lw=1, label="1 % false positives")
    right.plot([0, 1], [0, 1], color="0.75", lw=1)
    for axes in (left, right):
        axes.set_xlabel("false-positive rate")
        axes.grid(color="0.92")
    left.legend(loc="lower right", framealpha=0.9)
    _save(figure, path)


def draw_completeness(panels, binned_at, path):
    """Draw completeness against one or more properties.

    Parameters
    ----------
    panels : list of dict
        ``bins`` (list of dict with ``from``, ``to``, ``n``, ``completeness``, ``low``, ``high``;
        the first begins at 0 and the last is open, ``to`` None: both are drawn as wide as their
        neighbours), ``label`` of the axis, ``title`` and whether the axis is ``log``.
    binned_at : str
        Where scores were cut.
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(5 * len(panels), 4.4), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(row, panels, strict=True):
        _draw_bins(axes, panel["bins"], panel["log"])
        axes.set(xlabel=panel["label"], title=panel["title"])
    row[0].set(ylabel=f"completeness at {binned_at}", ylim=(0, 1.1))
    _save(figure, path)


def _draw_bins(axes, bins, log):
    """Points with 95 % intervals over their bins; numbers of lenses above."""
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
        axes.hlines(value, low, high, color=_BLUE, lw=1.8)
        axes.vlines(middle, bin_["low"], bin_["high"], color=_BLUE, lw=1.2)
        axes.plot(middle, value, "o", color=_BLUE, ms=5)
        axes.text(middle, 1.05, bin_["n"], ha="center", va="center", fontsize=8, color=_GREY)
    axes.axhline(1, color="0.75", lw=1)
    axes.grid(color="0.92")


def draw_scores(p, kinds, threshold, path):
    """Draw the histogram of scores of each kind of galaxy.

    Parameters
    ----------
    p : array_like, shape (N,)
        Scores; negative where there is none (drawn as 0).
    kinds : array_like of str, shape (N,)
        What each galaxy is; ``lens`` for a lens.
    threshold : float
        Where candidates begin.
    path : str or path-like
        The PNG.
    """
    p, kinds = np.clip(np.asarray(p, float), 0, 1), np.asarray(kinds, str)
    edges = np.linspace(0, 1, 41)
    names = sorted(set(kinds), key=lambda kind: (kind == "lens", p[kinds == kind].mean()))
    counts = {name: np.histogram(p[kinds == name], edges)[0] for name in names}
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, chosen, colour in (
        ("non-lenses", kinds != "lens", _GREY),
        ("lenses", kinds == "lens", _BLUE),
    ):
        style = {"histtype": "step", "lw": 1.8, "color": colour}
        left.hist(p[chosen], edges, label=f"{chosen.sum()} {label}", **style)
    left.set(yscale="log", xlabel="score p", ylabel="galaxies per bin", xlim=(0, 1))
    left.axvline(threshold, color=_ORANGE, ls="--", lw=1, label=f"threshold {threshold:g}")
    left.legend(loc="upper center", framealpha=0.9)
    parts = np.array([counts[name] / counts[name].sum() for name in names])
    image = right.pcolormesh(
        edges,
        np.arange(len(names) + 1),
        np.where(parts > 0, parts, np.nan),
        norm=LogNorm(vmin=1e-3, vmax=1),
        cmap="viridis",
    )
    right.set_facecolor("0.96")
    labels = [f"{name.replace('_', ' ')} ({counts[name].sum()})" for name in names]
    right.set_yticks(np.arange(len(names)) + 0.5, labels)
    right.tick_params(axis="y", length=0)
    right.axvline(threshold, color=_ORANGE, ls="--", lw=1)
    right.set(xlabel="score p", xlim=(0, 1))
    figure.colorbar(image, ax=right, label="part of its kind per bin")
    _save(figure, path)


def _save(figure, path):
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
