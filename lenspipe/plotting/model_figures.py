"""Figures of a trained model."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import expit, logit

from lenspipe.plotting.figures import BLUE, GREEN, GREY, ORANGE, save
from lenspipe.statistics.metrics import (
    expected_calibration_error,
    precision_recall,
    purity_at,
    reliability,
    wilson_interval,
)

__all__ = [
    "draw_activations",
    "draw_note",
    "draw_precision_recall",
    "draw_reliability",
    "draw_threshold",
]

#: Least threshold at which rates are drawn, and the largest where scores reach so far, as logits.
_LOGITS = -5.0, 12.0

#: Most maps that are drawn of a stage.
_CHANNELS = 8


def draw_note(message, path):
    """Draw a page that says why there is nothing to see.

    Parameters
    ----------
    message : str
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(7, 3), layout="constrained")
    figure.text(0.5, 0.5, message, ha="center", va="center", fontsize=12, color=GREY)
    save(figure, path)


def draw_precision_recall(lenses, others, prior, threshold, title, path):
    """Draw purity against completeness, at the scores' own part of lenses and at another.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores; neither is empty.
    prior : float
        Part of the sky's galaxies that are lenses.
    threshold : float
        Is marked on the curves.
    title : str
    path : str or path-like
        The PNG.
    """
    lenses, others = np.asarray(lenses), np.asarray(others)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    own = len(lenses) / (len(lenses) + len(others))
    found, false = (lenses >= threshold).mean(), (others >= threshold).mean()
    for axes, part, label in (
        (left, own, f"in the sample, where 1 in {1 / own:.1f} is a lens"),
        (right, prior, f"on the sky, where 1 in {1 / prior:,.0f} is a lens"),
    ):
        completeness, purity = precision_recall(lenses, others, part)
        # Where no non-lens passes, only this can be said of the purity.
        measured = precision_recall(lenses, others)[1] < 1
        style = {"color": BLUE, "marker": "." if len(purity) < 50 else None}
        axes.plot(completeness[measured], purity[measured], lw=1.8, **style)
        axes.plot(
            np.append(0, completeness[~measured]), np.append(1, purity[~measured]), lw=1.2, ls=":",
            **style,
        )  # fmt: skip
        if false > 0:
            axes.plot(found, purity_at(found, false, part), "o", color=ORANGE, ms=6)
        axes.set(xlabel="completeness", xlim=(0, 1.02), title=label)
        axes.title.set_fontsize(10)
        axes.grid(color="0.92")
    left.set(ylabel="purity", ylim=(0, 1.04))
    right.set(yscale="log", ylabel="purity")
    left.plot([], [], "o", color=ORANGE, ms=6, label=f"threshold {threshold:g}")
    left.plot([], [], color=BLUE, lw=1.2, ls=":", label="no non-lens passes")
    left.legend(loc="lower left", framealpha=0.9)
    save(figure, path)


def draw_threshold(lenses, others, prior, threshold, title, path):
    """Draw completeness, false positives and purity against the threshold, with 95 % intervals.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores; neither is empty.
    prior : float
        Part of the sky's galaxies that are lenses; purity is drawn for it.
    threshold : float
        The one in use.
    title : str
    path : str or path-like
        The PNG.
    """
    lenses, others = np.asarray(lenses, np.float64), np.asarray(others, np.float64)
    first, last = expit(_LOGITS)
    last = np.clip(max(lenses.max(), others.max(), threshold), 0.9, last)
    # Even in the logit: scores crowd near 0 and 1.
    thresholds = expit(np.linspace(_LOGITS[0], logit(last) + 0.3, 300))
    completeness, fpr = (
        np.array([_rate(scores >= t) for t in thresholds]).T for scores in (lenses, others)
    )
    ticks = [tick for tick in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999) if tick < thresholds[-1]]
    if len(ticks) == 7:
        ticks = [0.01, 0.5, *(tick for tick in (0.99, 0.9999, 0.999999) if tick < thresholds[-1])]
    purity = [
        np.where(fpr[0] > 0, purity_at(completeness[0], fpr[0], prior), np.nan),
        purity_at(completeness[1], fpr[2], prior),
        purity_at(completeness[2], fpr[1], prior),
    ]
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    row = figure.subplots(1, 3)
    labels = (
        "completeness",
        "false-positive rate",
        f"purity where 1 in {1 / prior:,.0f} is a lens",
    )
    for axes, (value, low, high), label in zip(
        row, (completeness, fpr, purity), labels, strict=True
    ):
        axes.fill_between(thresholds, low, high, color=BLUE, alpha=0.2, lw=0)
        axes.plot(thresholds, np.where(value > 0, value, np.nan), color=BLUE, lw=1.8)
        axes.axvline(threshold, color=ORANGE, ls="--", lw=1, label=f"threshold {threshold:g}")
        axes.set_xscale("logit")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set(xlabel="threshold", ylabel=label, xlim=(first, thresholds[-1]))
        axes.xaxis.set_minor_formatter("")
        axes.grid(color="0.92")
    row[0].set_ylim(0, 1.02)
    for axes, bottom in zip(row[1:], (0.1 / len(others), prior / 10), strict=True):
        axes.set(yscale="log", ylim=(bottom, 1.2))
    row[0].legend(loc="lower left", framealpha=0.9)
    save(figure, path)


def _rate(passes):
    return passes.mean(), *wilson_interval(int(passes.sum()), len(passes))


def draw_reliability(label, probabilities, bins, title, path):
    """Draw the part of lenses against the probability that was promised.

    Parameters
    ----------
    label : array_like, shape (N,)
        1 lens, 0 none.
    probabilities : dict
        Name -> probabilities, shape (N,); up to three.
    bins : int
        Of equal width.
    title : str
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.75", lw=1)
    edges = np.linspace(0, 1, bins + 1)
    for (name, p), colour, marker in zip(
        probabilities.items(), (GREY, BLUE, GREEN), ("o", "s", "^"), strict=False
    ):
        found = reliability(label, p, bins)
        x, y, low, high = (
            np.array([bin_[key] for bin_ in found]) for key in ("p", "lenses", "low", "high")
        )
        error = expected_calibration_error(label, p, bins)
        upper.vlines(x, low, high, color=colour, lw=1)
        upper.plot(
            x,
            y,
            marker=marker,
            color=colour,
            ms=5,
            lw=1.4,
            clip_on=False,
            label=f"{name}: ECE {error:.3f}",
        )
        lower.hist(np.asarray(p), edges, histtype="step", color=colour, lw=1.4)
    upper.set(ylabel="part of lenses", ylim=(0, 1.02))
    upper.legend(loc="upper left", framealpha=0.9)
    lower.set(xlabel="probability", ylabel="galaxies", yscale="log", xlim=(0, 1))
    for axes in (upper, lower):
        axes.grid(color="0.92")
    save(figure, path)


def draw_activations(stages, shape, rgb, titles, title, path):
    """Draw a network as a row of boxes, and below it its strongest maps for each of some galaxies.

    Parameters
    ----------
    stages : list of dict
        As of `lenspipe.models.activations.stages`.
    shape : tuple of int
        Bands and side of a cutout, (B, S, S).
    rgb : numpy.ndarray of uint8, shape (N, S, S, 3)
        The galaxies in colour, row 0 in the south.
    titles : sequence of str
        Of the N galaxies.
    title : str
        Of the page.
    path : str or path-like
        The PNG.
    """
    members = list(dict.fromkeys(stage["member"] for stage in stages))
    heights = [1.7] * len(members) + [0.95 * len(stages) + 0.4] * len(rgb)
    figure = Figure(figsize=(11.5, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=12)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, member in zip(parts, members, strict=False):
        own = [stage for stage in stages if stage["member"] == member]
        _draw_boxes(part.subplots(), own, shape, member)
    channels = [_strongest(stage["maps"]) for stage in stages]
    for i, part in enumerate(parts[len(members) :]):
        grid = part.add_gridspec(len(stages), _CHANNELS + 1, width_ratios=[2.2] + [1] * _CHANNELS)
        # As tall as it is wide beside the tiles.
        axes = part.add_subplot(grid[: min(3, len(stages)), 0])
        axes.imshow(rgb[i], origin="lower")
        axes.set_title(titles[i], fontsize=10)
        axes.set_axis_off()
        for row, (stage, shown) in enumerate(zip(stages, channels, strict=True)):
            for column, channel in enumerate(shown):
                axes = part.add_subplot(grid[row, column + 1])
                maps = stage["maps"][..., channel]
                # One scale for all galaxies, so that what is bright for one is comparable.
                low, high = np.quantile(maps, [0.005, 0.998])
                axes.imshow(maps[i], origin="lower", cmap="magma", vmin=low, vmax=high)
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel("\n".join(filter(None, (stage["member"], _size(stage)))))
                    axes.yaxis.label.set_fontsize(8)
                axes.set_title(f"{channel}", fontsize=6, pad=1.5, color=GREY)
    save(figure, path)


def _strongest(maps):
    """Channels that vary most over their maps, at most eight of them, (N, S, S, C)."""
    spread = maps.std(axis=(1, 2)).mean(axis=0)
    return np.argsort(-spread, kind="stable")[:_CHANNELS]


def _size(stage):
    side = stage["maps"].shape[1]
    return f"{side} × {side}"


def _draw_boxes(axes, stages, shape, member):
    """Boxes as tall as maps are large and as wide as there are channels, both in the logarithm."""
    boxes = [(shape[1], shape[0], "image")]
    for stage in stages:
        n = stage["convolutions"]
        what = "normalised" if n == 0 else f"{n} convolution{'s' if n > 1 else ''}"
        boxes.append((stage["maps"].shape[1], stage["maps"].shape[-1], what))
    pitch = 1.9
    for i, (side, channels, what) in enumerate(boxes):
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
        axes.text(i * pitch, 0.6, what, ha="center", fontsize=8, color=GREY)
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
