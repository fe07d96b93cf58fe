"""Figures of the selection function, and of injected lenses beside real ones."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenspipe.completeness.cells import cell_edges
from lenspipe.completeness.quantities import REGION, Quantity, read_quantities
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.style import BLUE, GREY, ORANGE, open_figure, plot_band, plot_points
from lenspipe.statistics.intervals import clustered_interval

__all__ = ["describe_realism", "plot_completeness", "plot_prediction", "plot_realism"]

_CONTOURS = (0.1, 0.25, 0.5, 0.75, 0.9)

#: Pixels of the map along each axis, and bins of the other panels.
_N_MAP_PIXELS, _N_CURVE_BINS = 100, 8

#: Cutouts shown of each population, and their side in pixels.
_N_SHOWN, _SIDE_PIXELS = 10, 61


def describe_realism(realism: Mapping[str, Any] | None) -> str:
    """Describe the content of ``realism.json``: how well injected and real lenses separate."""
    if not realism:
        return "not compared with real lenses"
    areas = []
    for key, features in (("auc_features", "network features"), ("auc_photometry", "photometry")):
        if realism.get(key) is not None:
            low, high = (realism.get(f"{key}_{end}") for end in ("low", "high"))
            interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
            areas.append(f"{realism[key]:.2f}{interval} from {features}")
    n_injected, n_real = realism.get("n_injected", 0), realism.get("n_real", 0)
    return (
        f"AUC of separating {n_injected} injected from {n_real} real lenses: "
        f"{', '.join(areas) or 'not measured'}; 0.5: indistinguishable"
    )


def plot_completeness(
    function: SelectionFunction,
    injected: pd.DataFrame,
    summary: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> None:
    """Plot completeness over Einstein radius and brightness, and against each quantity.

    The map is the smooth function with the other quantities at their medians. Points in the other
    panels are counts (95 %, lenses of a galaxy taken together), bands the function's mean over the
    same lenses. The summary is that of `lenspipe.completeness.measure.measure_selection_function`.
    """
    title = (
        f"{summary['run']}: {summary['n_found']} of {summary['n_painted']} injected lenses found, "
        f"p ≥ {summary['threshold']:.3g}\n{describe_realism(summary['realism'])}"
    )
    values = read_quantities(
        injected, function.quantities, function.zero_point_mag, "injected lenses"
    )
    with open_figure(path, 12, 7.6, title) as figure:
        axes = figure.subplots(2, 3).ravel()
        _plot_map(figure, axes[0], function)
        shown = [quantity for quantity in function.quantities if quantity != REGION]
        for panel, quantity in zip(axes[1:], shown, strict=True):
            _plot_curve(panel, function, injected, values[quantity.name], quantity)
        # Curves are compared: their axes are equal and reach the highest interval.
        curves = [panel for panel in axes[1:] if panel.lines]
        top = max([0.1, *(panel.dataLim.y1 for panel in curves)])
        for panel in curves:
            panel.set_ylim(0, min(1.02, 1.08 * top))
        handles, labels = (curves or [axes[1]])[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        for panel in axes[[1, 3]]:
            panel.set_ylabel("completeness of injected lenses")


def _plot_map(figure: Figure, axes: Axes, function: SelectionFunction) -> None:
    """Completeness over Einstein radius and brightness."""
    theta_e, brightness = function.quantities[:2]
    grids = []
    for quantity in (theta_e, brightness):
        spline = function.splines.get(quantity.name)
        median = float(quantity.scaled(function.medians[quantity.name]))
        ends = (spline.low, spline.high) if spline else (median - 0.01, median + 0.01)
        grids.append(quantity.unscaled(np.linspace(*ends, _N_MAP_PIXELS)))
    x, y = np.meshgrid(*grids)
    table = function.typical(x.size)
    table[theta_e.column], table[brightness.column] = x.ravel(), y.ravel()
    z = function.completeness(table)["completeness"].to_numpy().reshape(x.shape)
    image = axes.pcolormesh(x, y, z, vmin=0, vmax=1, cmap="viridis", shading="gouraud")
    levels = [level for level in _CONTOURS if z.min() < level < z.max()]
    if levels:
        lines = axes.contour(x, y, z, levels, colors="white", linewidths=1)
        axes.clabel(lines, fmt="%.2g", fontsize=8)
    if brightness.scale == "log1p":
        axes.set_yscale("symlog", linthresh=3)
        axes.set_ylim(0, grids[1][-1])
    else:
        axes.invert_yaxis()
    axes.set(
        xlabel=theta_e.title, ylabel=brightness.title, title="other quantities at their medians"
    )
    figure.colorbar(image, ax=axes, label="completeness")


def _plot_curve(
    axes: Axes,
    function: SelectionFunction,
    injected: pd.DataFrame,
    values: pd.Series,
    quantity: Quantity,
) -> None:
    """Completeness against one quantity: counted, and of the function."""
    values = values.fillna(function.medians[quantity.name]).to_numpy()
    axes.set_xlabel(quantity.title)
    axes.grid()
    edges = cell_edges(values, quantity, _N_CURVE_BINS)
    if not edges[0] < edges[-1]:
        axes.set_title("one value or none: not used", fontsize=9)
        return
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    groups = np.unique(bins, return_inverse=True)[1]
    mean = function.mean_completeness(injected, groups)
    n = np.bincount(groups)
    x = np.bincount(groups, values) / n
    n_found = np.bincount(groups, injected["found"].to_numpy(bool))
    band = mean[["completeness", "low", "high"]].to_numpy().T
    plot_band(axes, x, *band, colour=BLUE, label="function")
    hosts = injected["id"] if "id" in injected else np.arange(len(injected))
    ends = clustered_interval(injected["found"].to_numpy(bool), groups, hosts)
    plot_points(axes, x, n_found / n, *ends, colour=ORANGE, label="counted")
    if quantity.scale == "log1p":
        axes.set_xscale("symlog", linthresh=3)


def plot_prediction(
    prediction: Mapping[str, Any], function: SelectionFunction, path: str | os.PathLike[str]
) -> None:
    """Plot numbers of planted lenses found with their prediction.

    The prediction is that of `lenspipe.completeness.prediction.compare_planted`.
    """
    bins = prediction["bins"]
    x = np.arange(len(bins))
    brightness = "S/N" if function.quantities[1].column == "arc_snr" else "mag"
    names = [
        f'{row["theta_e_low"]:.1f}-{row["theta_e_high"]:.1f}"\n{brightness} '
        f"{row['brightness_low']:.3g}-{row['brightness_high']:.3g}\n{row['n']} lenses"
        for row in bins
    ]
    n, n_found, *predicted = (
        [row[key] for row in bins] for key in ("n", "found", "expected", "low", "high")
    )
    title = (
        f"{prediction['n']} planted lenses: {prediction['expected']:.0f} "
        f"({prediction['low']} to {prediction['high']}) predicted, {prediction['found']} found"
    )
    with open_figure(path, 9.5, 4.6, title) as figure:
        axes = figure.subplots()
        plot_points(axes, x, *predicted, colour=BLUE, marker="_", ms=16, label="predicted, 95 %")
        axes.plot(x, n_found, "o", color=ORANGE, label="found")
        axes.plot(x, n, "_", color=GREY, ms=10, label="planted")
        axes.set_xticks(x, names, fontsize=8)
        axes.set(ylabel="lenses", ylim=(0, None))
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def plot_realism(
    images: Sequence[np.ndarray],
    tables: Sequence[pd.DataFrame],
    features: np.ndarray,
    result: Mapping[str, Any],
    path: str | os.PathLike[str],
    bands: Sequence[str],
    stretch: str,
) -> None:
    """Plot some real and injected lenses, their scores, and the network's features.

    Parameters
    ----------
    images
        Cutouts of the real and of the injected lenses, float32, shapes (N, B, S, S) and
        (M, B, S, S).
    tables
        Likewise, with column p.
    features
        Of both, the real ones first, shape (N + M, K).
    result
        As returned by `lenspipe.completeness.realism.measure_realism`.
    """
    n_real, n_injected = map(len, tables)
    title = f"{n_real} real and {n_injected} injected lenses: some of each, scores, features"
    with open_figure(path, 12, 7.8, title) as figure:
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.5, 4])
        names, colours = ("real", "injected"), (BLUE, ORANGE)
        tiles = top.subplots(2, _N_SHOWN)
        for row, cutouts, name, colour in zip(tiles, images, names, colours, strict=True):
            shown = np.linspace(0, len(cutouts) - 1, _N_SHOWN).astype(int)
            rgb = colour_images(_crop(cutouts[shown]), bands, stretch)
            for axes in row:
                axes.axis("off")
            for axes, picture in zip(row, rgb, strict=False):
                axes.imshow(picture, origin="lower")
            row[0].set_title(name, loc="left", color=colour, fontsize=10)
        scores, plane = bottom.subplots(1, 2)
        for table, name, colour in zip(tables, names, colours, strict=True):
            p = np.sort(table["p"].to_numpy())
            fraction = np.arange(1, len(p) + 1) / len(p)
            scores.step(p, fraction, where="post", color=colour, label=f"{len(p)} {name}")
        scores.set(xlabel="score p", ylabel="cumulative fraction", xlim=(0, 1), ylim=(0, 1.02))
        scores.set_title(
            f"KS distance {result['ks']:.2f}, p-value {result['ks_p']:.2g}", fontsize=10
        )
        scores.legend(loc="upper left")
        spread = features.std(axis=0)
        scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
        components = np.linalg.svd(scaled, full_matrices=False)[2]
        projected = scaled @ components[:2].T
        for rows, name, colour in zip(
            (slice(None, n_real), slice(n_real, None)), names, colours, strict=True
        ):
            plane.plot(*projected[rows].T[:2], ".", color=colour, ms=5, alpha=0.6, label=name)
        plane.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
        if result["auc_features"] is not None:
            plane.set_title(
                "features before the network's last layer: AUC {auc_features:.2f} "
                "({auc_features_low:.2f} to {auc_features_high:.2f})".format(**result),
                fontsize=10,
            )
        plane.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _crop(images: np.ndarray) -> np.ndarray:
    """Central pixels of cutouts, where arcs are."""
    margin = max(0, (images.shape[-1] - _SIDE_PIXELS) // 2)
    return images[:, :, margin : images.shape[-2] - margin, margin : images.shape[-1] - margin]
