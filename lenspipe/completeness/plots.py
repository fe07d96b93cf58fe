"""Figures of the selection function."""

import numpy as np
from matplotlib.figure import Figure

from lenspipe.completeness.cells import cell_edges
from lenspipe.completeness.quantities import read_quantities
from lenspipe.plotting.figures import BLUE, GREY, ORANGE, save
from lenspipe.statistics.metrics import wilson_interval

__all__ = ["draw_completeness", "draw_prediction", "realism_text"]

_CONTOURS = (0.1, 0.25, 0.5, 0.75, 0.9)

#: Pixels of the map along each side, bins of the other panels.
_MAP, _BINS = 100, 8


def realism_text(realism):
    """Say how real the painted lenses look.

    Parameters
    ----------
    realism : dict or None
        What ``selection/realism.json`` holds.

    Returns
    -------
    str
    """
    if not realism:
        return "not compared with real lenses"
    parts = []
    for key, what in (("auc_features", "network's features"), ("auc_photometry", "photometry")):
        if realism.get(key) is not None:
            ends = [realism.get(f"{key}_{end}") for end in ("low", "high")]
            interval = "" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
            parts.append(f"{realism[key]:.2f}{interval} by {what}")
    numbers = f"{realism.get('n_injected', 0)} painted from {realism.get('n_real', 0)} real lenses"
    return f"AUC of telling {numbers}: {', '.join(parts) or 'not measured'}; 0.5 is alike"


def draw_completeness(function, painted, summary, path):
    """Draw completeness over Einstein radius and brightness, and against each quantity.

    The map is the smooth function with all else at its median; where the other panels have points,
    lenses were counted (Wilson, 95 %), and bands are the function's mean over the same lenses.

    Parameters
    ----------
    function : lenspipe.completeness.selection_function.SelectionFunction
    painted : pandas.DataFrame
        The painted lenses.
    summary : dict
        As of `lenspipe.completeness.search.measure_selection`.
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(12, 7.6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    _draw_map(figure, axes[0], function)
    values = read_quantities(painted, function.quantities, "painted lenses")
    for panel, quantity in zip(axes[1:], function.quantities, strict=True):
        _draw_curve(panel, function, painted, values[quantity.name], quantity)
    axes[3].set_ylabel("completeness of those painted")
    axes[1].set_ylabel("completeness of those painted")
    figure.suptitle(
        f"{summary['run']}: {summary['n_found']} of {summary['n_painted']} painted lenses found, "
        f"p ≥ {summary['threshold']:.3g}\n{realism_text(summary['realism'])}",
        fontsize=11,
    )
    save(figure, path)


def _draw_map(figure, axes, function):
    """Completeness over the two quantities of a lens."""
    theta_e, brightness = function.quantities[:2]
    grids = []
    for quantity in (theta_e, brightness):
        spline = function.splines.get(quantity.name)
        median = quantity.scaled(function.medians[quantity.name])
        ends = (spline.low, spline.high) if spline else (median - 0.01, median + 0.01)
        grids.append(quantity.unscaled(np.linspace(*ends, _MAP)))
    x, y = np.meshgrid(*grids)
    table = function.typical(x.size)
    table[theta_e.column], table[brightness.column] = x.ravel(), y.ravel()
    z = function.completeness(table)["completeness"].to_numpy().reshape(x.shape)
    image = axes.pcolormesh(x, y, z, vmin=0, vmax=1, cmap="viridis", shading="gouraud")
    within = [level for level in _CONTOURS if z.min() < level < z.max()]
    if within:
        lines = axes.contour(x, y, z, within, colors="white", linewidths=1)
        axes.clabel(lines, fmt="%.2g", fontsize=8)
    if brightness.scale == "log1p":
        axes.set_yscale("symlog", linthresh=3)
        axes.set_ylim(0, grids[1][-1])
    else:
        axes.invert_yaxis()
    axes.set(xlabel=theta_e.title, ylabel=brightness.title, title="all else at its median")
    figure.colorbar(image, ax=axes, label="completeness")


def _draw_curve(axes, function, painted, values, quantity):
    """Completeness against one quantity: counted, and as the function has it."""
    values = values.fillna(function.medians[quantity.name]).to_numpy()
    axes.set_xlabel(quantity.title)
    axes.grid(color="0.92")
    edges = cell_edges(values, quantity, _BINS)
    if not edges[0] < edges[-1]:
        axes.set_title("one value or none: plays no part", fontsize=9)
        return
    place = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    groups = np.unique(place, return_inverse=True)[1]
    mean = function.mean_completeness(painted, groups)
    at = np.bincount(groups, values) / np.bincount(groups)
    found = np.bincount(groups, painted["found"].to_numpy(bool))
    axes.fill_between(at, mean["low"], mean["high"], color=BLUE, alpha=0.25, lw=0)
    axes.plot(at, mean["completeness"], color=BLUE, label="function")
    n = np.bincount(groups)
    ends = np.array([wilson_interval(int(k), int(m)) for k, m in zip(found, n, strict=True)])
    axes.vlines(at, ends[:, 0], ends[:, 1], color=ORANGE, lw=1.5)
    axes.plot(at, found / n, "o", color=ORANGE, ms=4, label="counted")
    if quantity.scale == "log1p":
        axes.set_xscale("symlog", linthresh=3)
    axes.set_ylim(0, min(1.02, 1.15 * axes.get_ylim()[1]))
    axes.legend(framealpha=0.9)


def draw_prediction(prediction, function, path):
    """Draw numbers of planted lenses found beside what was predicted.

    Parameters
    ----------
    prediction : dict
        As of `lenspipe.completeness.prediction.compare_planted`.
    function : lenspipe.completeness.selection_function.SelectionFunction
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axes = figure.subplots()
    bins = prediction["bins"]
    at = np.arange(len(bins))
    short = "S/N" if function.quantities[1].column == "arc_snr" else "mag"
    names = [
        f'{row["theta_e_low"]:.1f}-{row["theta_e_high"]:.1f}"\n{short} '
        f"{row['brightness_low']:.3g}-{row['brightness_high']:.3g}\n{row['n']} lenses"
        for row in bins
    ]
    axes.vlines(
        at, [row["low"] for row in bins], [row["high"] for row in bins], color=BLUE, lw=8, alpha=0.3
    )
    axes.plot(
        at, [row["expected"] for row in bins], "_", color=BLUE, ms=16, label="predicted, 95 %"
    )
    axes.plot(at, [row["found"] for row in bins], "o", color=ORANGE, label="found")
    axes.plot(at, [row["n"] for row in bins], "_", color=GREY, ms=10, label="planted")
    axes.set_xticks(at, names, fontsize=8)
    axes.set(ylabel="lenses", ylim=(0, None))
    axes.grid(color="0.92", axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title(
        f"{prediction['n']} planted lenses: {prediction['expected']:.1f} "
        f"({prediction['low']} to {prediction['high']}) predicted, {prediction['found']} found",
        fontsize=11,
    )
    save(figure, path)
