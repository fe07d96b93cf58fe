"""Figures of an evaluation and of the labelled sample."""

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lenspipe.survey.bricks import BRICK_DEG
from lenspipe.utils.files import atomic

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "draw_completeness",
    "draw_distributions",
    "draw_roc",
    "draw_scores",
    "draw_sky",
    "draw_states",
    "save",
]

#: Okabe and Ito's colours, told apart by most eyes.
BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#555555", "#009E73"

_SPLIT_COLOURS = {"train": BLUE, "validation": GREEN, "test": ORANGE}

#: Wider footprints are drawn on the whole sky, degrees.
_WIDE = 60


def draw_roc(curves, path, points=()):
    """Draw ROC curves with a logarithmic and a linear axis of false positives.

    Parameters
    ----------
    curves : dict
        Label -> (false-positive rate, completeness), each of shape (K,); the last is the main one.
    path : str or path-like
        The PNG.
    points : sequence of tuple of float
        False-positive rate, completeness and its interval's ends, drawn on the main curve.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
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
    for fpr, completeness, low, high in points:
        left.plot(fpr, completeness, "o", color=BLUE, ms=5, zorder=3)
        left.vlines(fpr, low, high, color=BLUE, lw=2, zorder=3)
    left.axvline(0.01, color=ORANGE, ls="--", lw=1, label="1 % false positives")
    right.plot([0, 1], [0, 1], color="0.75", lw=1)
    for axes in (left, right):
        axes.set_xlabel("false-positive rate")
        axes.grid(color="0.92")
    left.legend(loc="lower right", framealpha=0.9)
    save(figure, path)


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
    save(figure, path)


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
        axes.hlines(value, low, high, color=BLUE, lw=1.8)
        axes.vlines(middle, bin_["low"], bin_["high"], color=BLUE, lw=1.2)
        axes.plot(middle, value, "o", color=BLUE, ms=5)
        axes.text(middle, 1.05, bin_["n"], ha="center", va="center", fontsize=8, color=GREY)
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
        ("non-lenses", kinds != "lens", GREY),
        ("lenses", kinds == "lens", BLUE),
    ):
        style = {"histtype": "step", "lw": 1.8, "color": colour}
        left.hist(p[chosen], edges, label=f"{chosen.sum()} {label}", **style)
    left.set(yscale="log", xlabel="score p", ylabel="galaxies per bin", xlim=(0, 1))
    left.axvline(threshold, color=ORANGE, ls="--", lw=1, label=f"threshold {threshold:g}")
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
    right.axvline(threshold, color=ORANGE, ls="--", lw=1)
    right.set(xlabel="score p", xlim=(0, 1))
    figure.colorbar(image, ax=right, label="part of its kind per bin")
    save(figure, path)


def draw_distributions(panels, columns, path):
    """Draw how quantities are distributed among lenses and non-lenses.

    Parameters
    ----------
    panels : list of dict
        ``lenses`` and ``others`` (arrays of values), ``label`` of the axis, ``title``, whether
        values are ``whole`` numbers and whether the title is ``marked``.
    columns : int
        Panels in a row.
    path : str or path-like
        The PNG.
    """
    n_rows = len(panels) // columns
    figure = Figure(figsize=(4.2 * columns, 2.7 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        axes.set_title(panel["title"], fontsize=10, color=ORANGE if panel["marked"] else "black")
        axes.set(xlabel=panel["label"], yticks=[])
        everything = np.concatenate([panel["lenses"], panel["others"]])
        if len(everything) == 0:
            continue
        if panel["whole"]:
            edges = np.arange(everything.min() - 0.5, everything.max() + 1)
        else:
            edges = np.linspace(*np.quantile(everything, [0.002, 0.998]), 31)
        for name, label, style in (
            ("others", "non-lenses", {"histtype": "stepfilled", "color": "0.8"}),
            ("lenses", "lenses", {"histtype": "step", "lw": 1.6, "color": BLUE}),
        ):
            values = np.clip(panel[name], edges[0], edges[-1])
            weights = np.full(len(values), 1 / max(len(values), 1))
            axes.hist(values, edges, weights=weights, label=f"{len(values)} {label}", **style)
    for axes in grid[:, 0]:
        axes.set_ylabel("part of the class per bin")
    grid[0, 0].legend(fontsize=8, framealpha=0.9)
    save(figure, path)


def draw_sky(galaxies, path):
    """Draw where lenses and non-lenses of each split are; East is to the left.

    Parameters
    ----------
    galaxies : pandas.DataFrame
        Columns ra, dec (degrees), label (1 lens, 0 none) and split. Where they spread over more
        than 60 degrees, the whole sky is drawn (Mollweide), else a panel.
    path : str or path-like
        The PNG.
    """
    figure, axes, x, y = _sky_axes(galaxies["ra"], galaxies["dec"])
    lens, split = galaxies["label"].to_numpy() > 0.5, galaxies["split"].to_numpy()
    few = len(galaxies) < 20000
    for is_lens, style in (
        (False, {"s": 4 if few else 1, "alpha": 0.5, "lw": 0}),
        (True, {"s": 22 if few else 10, "edgecolor": "black", "lw": 0.5}),
    ):
        for name, colour in _SPLIT_COLOURS.items():
            those = (lens == is_lens) & (split == name)
            if those.any():
                label = f"{name}: {those.sum()} {'lenses' if is_lens else 'non-lenses'}"
                axes.scatter(x[those], y[those], color=colour, label=label, **style)
    axes.grid(color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    for handle in legend.legend_handles:
        handle.set_sizes([25])
    save(figure, path)


def draw_states(ra, dec, states, path):
    """Draw what has become of bricks; East is to the left.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Centres of the bricks, degrees.
    states : dict
        What the legend says -> (bool array of shape (N,), colour); later ones are drawn on top.
    path : str or path-like
        The PNG.
    """
    figure, axes, x, y = _sky_axes(ra, dec)
    whole_sky = axes.name == "mollweide"
    # Corners of each brick, whose sides follow the coordinates.
    dx, dy = BRICK_DEG / 2 / np.cos(np.radians(dec)), np.full(len(y), BRICK_DEG / 2)
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    corners = np.stack([x, y], -1)[:, None] + signs * np.stack([dx, dy], -1)[:, None]
    for label, (those, colour) in states.items():
        if not those.any():
            continue
        style = {"facecolor": colour, "label": f"{label}: {those.sum():,}"}
        if whole_sky:
            axes.scatter(x[those], y[those], s=1, lw=0, marker="s", **style)
        else:
            style |= {"edgecolor": "white", "lw": 0.5 if len(x) < 2000 else 0}
            axes.add_collection(PolyCollection(corners[those], **style))
    axes.autoscale_view()
    axes.grid(color="0.9", lw=0.6)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, markerscale=5)
    save(figure, path)


def _sky_axes(ra, dec):
    """Begin a map of positions (degrees): figure, axes, and where the positions are on them."""
    ra, dec = np.asarray(ra, float) % 360, np.asarray(dec, float)
    # The middle of the footprint lies opposite the middle of the widest gap in right ascension.
    ordered = np.sort(ra)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    widest = gaps.argmax()
    middle = (ordered[widest] + gaps[widest] / 2 + 180) % 360
    whole_sky = max(360 - gaps[widest], np.ptp(dec)) > _WIDE
    if whole_sky:
        middle = round(middle / 30) * 30
    east = (ra - middle + 180) % 360 - 180
    figure = Figure(figsize=(9, 5.4 if whole_sky else 7), layout="constrained")
    if whole_sky:
        axes = figure.add_subplot(projection="mollweide")
        x, y = -np.radians(east), np.radians(dec)
        axes.set_xticks(np.radians(np.arange(-120, 121, 60)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{(middle - np.degrees(x)) % 360:.0f}°")
        for label in axes.get_xticklabels():
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    else:
        axes = figure.add_subplot(aspect=1 / np.cos(np.radians(dec.min() / 2 + dec.max() / 2)))
        x, y = middle + east, dec
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter(lambda x, _: f"{x % 360:.6g}")
        axes.set(xlabel="right ascension (degrees)", ylabel="declination (degrees)")
    return figure, axes, x, y


def save(figure, path):
    """Write a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or path-like
        The PNG.
    """
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
