"""Figures of a trained model."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from lenspipe.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    mark_threshold,
    open_figure,
    plot_band,
    plot_points,
)
from lenspipe.statistics.intervals import fraction_interval, purity_at, purity_interval
from lenspipe.statistics.metrics import expected_calibration_error, precision_recall, reliability

__all__ = [
    "plot_activations",
    "plot_note",
    "plot_precision_recall",
    "plot_reliability",
    "plot_threshold",
]

# Range of thresholds for which rates are plotted, as logits; it ends earlier where scores do.
_LOGITS = -5.0, 12.0
# Maximum number of maps shown per stage of a network.
_MAX_CHANNELS = 8


def plot_note(message: str, path: str | os.PathLike[str]) -> None:
    """Write a page with a message in place of a figure."""
    with open_figure(path, 7, 3) as figure:
        figure.text(0.5, 0.5, message, ha="center", va="center", fontsize=12, color=GREY)


def plot_precision_recall(
    lenses: ArrayLike,
    others: ArrayLike,
    prior: float,
    threshold: float,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot purity against completeness, for the sample's fraction of lenses and for the sky's.

    Parameters
    ----------
    lenses, others
        Scores of lenses and non-lenses; neither is empty.
    prior
        Fraction of the sky's galaxies that are lenses.
    threshold
        Marked on the curves.
    """
    lenses, others = np.asarray(lenses), np.asarray(others)
    sample_prior = len(lenses) / (len(lenses) + len(others))
    completeness_at = (lenses >= threshold).mean()
    fpr_at = (others >= threshold).mean()
    with open_figure(path, 10, 4.6, title) as figure:
        left, right = figure.subplots(1, 2)
        for axes, fraction, label in (
            (left, sample_prior, f"in the sample, where 1 in {1 / sample_prior:.1f} is a lens"),
            (right, prior, f"on the sky, where 1 in {1 / prior:,.0f} is a lens"),
        ):
            completeness, purity = precision_recall(lenses, others, fraction)
            # Where no non-lens passes, the purity is not measured: it is shown as 1, dotted.
            measured = precision_recall(lenses, others)[1] < 1
            style = {"color": BLUE, "marker": "." if len(purity) < 50 else None}
            axes.plot(completeness[measured], purity[measured], lw=1.8, **style)
            axes.plot(
                np.append(0, completeness[~measured]), np.append(1, purity[~measured]), lw=1.2,
                ls=":", **style,
            )  # fmt: skip
            if fpr_at > 0:
                purity_here = purity_at(completeness_at, fpr_at, fraction)
                axes.plot(completeness_at, purity_here, "o", color=ORANGE, ms=6)
            axes.set(xlabel="completeness", xlim=(0, 1.02))
            axes.set_title(label, fontsize=10)
            axes.grid()
        left.set(ylabel="purity", ylim=(0, 1.04))
        right.set(yscale="log", ylabel="purity")
        left.plot([], [], "o", color=ORANGE, ms=6, label=f"threshold {threshold:g}")
        left.plot([], [], color=BLUE, lw=1.2, ls=":", label="no non-lens passes")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def plot_threshold(
    lenses: ArrayLike,
    others: ArrayLike,
    prior: float,
    threshold: float,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot completeness, false positives and purity against the threshold, with 95 % intervals.

    Parameters
    ----------
    lenses, others
        Scores of lenses and non-lenses; neither is empty.
    prior
        Fraction of the sky's galaxies that are lenses; purity is plotted for it.
    threshold
        The one in use.
    """
    lenses, others = np.asarray(lenses, np.float64), np.asarray(others, np.float64)
    first, last = expit(_LOGITS)
    last = np.clip(max(lenses.max(), others.max(), threshold), 0.9, last)
    # Uniform in the logit: scores crowd near 0 and 1.
    thresholds = expit(np.linspace(_LOGITS[0], logit(last) + 0.3, 300))
    found, passed = (
        [fraction_interval(scores >= t) for t in thresholds] for scores in (lenses, others)
    )
    purities = [purity_interval(*rates, prior) for rates in zip(found, passed, strict=True)]
    completeness, fpr, purity = (np.array(rows, float).T for rows in (found, passed, purities))
    ticks = [tick for tick in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999) if tick < thresholds[-1]]
    if len(ticks) == 7:
        ticks = [0.01, 0.5, *(tick for tick in (0.99, 0.9999, 0.999999) if tick < thresholds[-1])]
    labels = (
        "completeness",
        "false-positive rate",
        f"purity where 1 in {1 / prior:,.0f} is a lens",
    )
    with open_figure(path, 13, 4.4, title) as figure:
        row = figure.subplots(1, 3)
        for axes, (value, low, high), label in zip(
            row, (completeness, fpr, purity), labels, strict=True
        ):
            plot_band(axes, thresholds, np.where(value > 0, value, np.nan), low, high, colour=BLUE)
            mark_threshold(axes, threshold)
            axes.set_xscale("logit")
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set(xlabel="threshold", ylabel=label, xlim=(first, thresholds[-1]))
            axes.xaxis.set_minor_formatter("")
            axes.grid()
        row[0].set_ylim(0, 1.02)
        for axes, bottom in zip(row[1:], (0.1 / len(others), prior / 10), strict=True):
            axes.set(yscale="log", ylim=(bottom, 1.2))
        handles, names = row[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center")


def plot_reliability(
    label: ArrayLike,
    probabilities: Mapping[str, ArrayLike],
    bins: int,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot the observed fraction of lenses against the predicted probability.

    Parameters
    ----------
    label
        1 lens, 0 non-lens; shape (N,).
    probabilities
        Name -> probabilities, shape (N,); up to three.
    bins
        Number of bins, each with the same number of galaxies where scores do not coincide; the
        calibration error is that of as many bins of equal width.
    """
    edges = np.linspace(0, 1, bins + 1)
    with open_figure(path, 6.8, 7, title) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color="0.75", lw=1)
        for (name, p), colour, marker in zip(
            probabilities.items(), (GREY, BLUE, GREEN), ("o", "s", "^"), strict=False
        ):
            table = reliability(label, p, bins, equal_numbers=True)
            keys = "p", "lenses", "low", "high"
            x, y, low, high = ([bin_[key] for bin_ in table] for key in keys)
            error = expected_calibration_error(label, p, bins)
            plot_points(
                upper, x, y, low, high, colour=colour, marker=marker, ls="-", lw=1.4,
                clip_on=False, label=f"{name}: ECE {error:.3f}",
            )  # fmt: skip
            lower.hist(np.asarray(p), edges, histtype="step", color=colour, lw=1.4)
        upper.set(ylabel="fraction of lenses", ylim=(0, 1.02))
        handles, labels = upper.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        lower.set(xlabel="probability", ylabel="galaxies", yscale="log", xlim=(0, 1))
        for axes in (upper, lower):
            axes.grid()


def plot_activations(
    stages: Sequence[Mapping[str, Any]],
    shape: tuple[int, int, int],
    rgb: np.ndarray,
    titles: Sequence[str],
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Plot a network as a row of boxes, and below it its strongest maps for some galaxies.

    Parameters
    ----------
    stages
        As returned by `lenspipe.models.activations.stages`.
    shape
        Of a cutout, (B, S, S).
    rgb
        Colour images of the N galaxies, uint8, (N, S, S, 3), row 0 in the south.
    titles
        Of the N galaxies.
    title
        Of the page.
    """
    members = list(dict.fromkeys(stage["member"] for stage in stages))
    heights = [1.7] * len(members) + [0.95 * len(stages) + 0.4] * len(rgb)
    with open_figure(path, 11.5, sum(heights) + 0.5) as figure:
        figure.suptitle(title, fontsize=12)
        panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for panel, member in zip(panels, members, strict=False):
            of_member = [stage for stage in stages if stage["member"] == member]
            _plot_boxes(panel.subplots(), of_member, shape, member)
        channels = [_strongest(stage["maps"]) for stage in stages]
        for i, panel in enumerate(panels[len(members) :]):
            grid = panel.add_gridspec(
                len(stages), _MAX_CHANNELS + 1, width_ratios=[2.2] + [1] * _MAX_CHANNELS
            )
            # As tall as it is wide beside the maps.
            axes = panel.add_subplot(grid[: min(3, len(stages)), 0])
            axes.imshow(rgb[i], origin="lower")
            axes.set_title(titles[i], fontsize=10)
            axes.set_axis_off()
            for row, (stage, shown) in enumerate(zip(stages, channels, strict=True)):
                for column, channel in enumerate(shown):
                    axes = panel.add_subplot(grid[row, column + 1])
                    maps = stage["maps"][..., channel]
                    # One scale for all galaxies, so that their maps can be compared.
                    low, high = np.quantile(maps, [0.005, 0.998])
                    axes.imshow(maps[i], origin="lower", cmap="magma", vmin=low, vmax=high)
                    axes.set(xticks=[], yticks=[])
                    if column == 0:
                        lines = filter(None, (stage["member"], _format_size(stage)))
                        axes.set_ylabel("\n".join(lines), fontsize=8)
                    axes.set_title(f"{channel}", fontsize=6, pad=1.5, color=GREY)


def _strongest(maps: np.ndarray) -> np.ndarray:
    """Channels that vary most over their maps, at most eight; maps are (N, S, S, C)."""
    spread = maps.std(axis=(1, 2)).mean(axis=0)
    return np.argsort(-spread, kind="stable")[:_MAX_CHANNELS]


def _format_size(stage: Mapping[str, Any]) -> str:
    side = stage["maps"].shape[1]
    return f"{side} × {side}"


def _plot_boxes(
    axes: Axes, stages: Sequence[Mapping[str, Any]], shape: tuple[int, int, int], member: str
) -> None:
    """Plot boxes whose heights are the maps' sizes and widths the channels, both logarithmic."""
    boxes = [(shape[1], shape[0], "image")]
    for stage in stages:
        n = stage["convolutions"]
        caption = "normalised" if n == 0 else f"{n} convolution{'s' if n > 1 else ''}"
        boxes.append((stage["maps"].shape[1], stage["maps"].shape[-1], caption))
    pitch = 1.9
    for i, (side, channels, caption) in enumerate(boxes):
        height, width = np.log2(side + 1) / 7, np.log2(channels + 1) / 9
        colour = GREY if i == 0 else BLUE
        axes.add_patch(
            Rectangle(
                (i * pitch - width / 2, -height / 2),
                width,
                height,
                fc=colour,
                ec="white",
                alpha=0.85,
            )
        )
        axes.text(i * pitch, -0.66, f"{side} × {side} × {channels}", ha="center", fontsize=8)
        axes.text(i * pitch, 0.6, caption, ha="center", fontsize=8, color=GREY)
        start = (i * pitch + width / 2 + 0.04, 0)
        after = np.log2(boxes[i + 1][1] + 1) / 18 if i + 1 < len(boxes) else 0.2
        axes.annotate(
            "",
            ((i + 1) * pitch - after - 0.04, 0),
            start,
            arrowprops={"arrowstyle": "->", "color": GREY},
        )
    axes.text(len(boxes) * pitch, 0, "p", ha="center", va="center", fontsize=13, color=ORANGE)
    axes.set(xlim=(-1.1, len(boxes) * pitch + 0.6), ylim=(-0.8, 0.85))
    if member:
        axes.set_title(member, fontsize=10, loc="left")
    axes.set_axis_off()
