"""The figure of false-positive rates and of what the candidates hold."""

import numpy as np
from matplotlib.figure import Figure

from lenspipe.plotting.figures import BLUE, GREEN, GREY, ORANGE, save

__all__ = ["draw_purity"]

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", GREY, "#F0E442")

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)

#: Rates are drawn from here to where fewer pass.
_LOWEST = 0.001


def draw_purity(table, found, path, band):
    """Draw rates against the threshold, by what is known of galaxies, and the yield.

    Parameters
    ----------
    table : pandas.DataFrame
        As in ``purity.csv``.
    found : dict
        As of `lenspipe.evaluation.purity.random_rates.measure_purity`.
    path : str or path-like
        The PNG.
    band : str
        Band of exposures and magnitudes.
    """
    figure = Figure(figsize=(17, 8.4), layout="constrained")
    panels = figure.subplots(2, 4)
    _draw_all(panels[0, 0], table, found)
    for axes, group, title in (
        (panels[0, 1], "type", "Tractor type"),
        (panels[0, 2], "region", "region"),
        (panels[0, 3], "bricks", "bricks, by the training"),
        (panels[1, 0], "exposures", f"exposures in {band}"),
        (panels[1, 1], "magnitude", f"{band} magnitude"),
    ):
        own = table[table["group"] == group]
        for (value, rows), colour in zip(own.groupby("value", sort=False), _COLOURS, strict=False):
            _draw_rate(axes, rows, colour, f"{value} ({rows['n'].iloc[0]:,})")
        axes.set_title(title)
    _draw_yield(panels[1, 2], found)
    _draw_purity(panels[1, 3], found)
    top = _highest(found)
    for axes in panels.flat:
        if found["cut"] is not None and found["cut"] > 0:
            axes.axvline(_place(found["cut"]), color=GREY, ls="--", lw=1)
        axes.set(xlim=(_place(_LOWEST), _place(top)), xlabel="threshold p")
        ticks = [tick for tick in _TICKS if _LOWEST <= tick <= top]
        axes.set_xticks([_place(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
        axes.tick_params(axis="x", labelrotation=45)
        axes.grid(color="0.92")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, framealpha=0.9)
    for axes in panels[:, 0]:
        axes.set_ylabel("false-positive rate")
    _alike([*panels[0], *panels[1, :2]], found)
    save(figure, path)


def _place(p):
    """Where a threshold is drawn: by its odds, as scores crowd at both ends."""
    p = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
    return np.log10(p / (1 - p))


def _highest(found):
    """Where the thresholds end that any galaxy of the search reaches."""
    reached = [row["threshold"] for row in found["yield"] if row["n"]]
    return max([0.99, *reached])


def _alike(panels, found):
    """Give panels of rates the same logarithmic axis, down to half of what one galaxy makes."""
    lowest = (found["lowest_rate"] or 1e-3) / 2
    for axes in panels:
        axes.set(yscale="log", ylim=(lowest, 1.3))


def _draw_rate(axes, rows, colour, label):
    """A rate with its band; where none passes, the upper limit alone."""
    rows = rows[rows["n"] > 0]
    x, passes = _place(rows["threshold"]), rows["passed"].to_numpy() > 0
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    axes.fill_between(x[passes], low[passes], high[passes], color=colour, alpha=0.15, lw=0)
    axes.plot(x[passes], rows["rate"].to_numpy()[passes], color=colour, lw=1.6, label=label)
    axes.plot(x[~passes], high[~passes], color=colour, lw=1, ls=":")


def _draw_all(axes, table, found):
    """Rates of all random galaxies of the search and, beside, of the held-out sample."""
    own = table[table["group"] == "all"]
    if len(own):
        _draw_rate(axes, own, BLUE, f"the search ({found['n_random']:,})")
    rows = [row for row in found["yield"] if row["held_out_rate"] is not None]
    if rows:
        x = _place([row["threshold"] for row in rows])
        value, low, high = (
            np.array([row[f"held_out_rate{end}"] for row in rows]) for end in ("", "_low", "_high")
        )
        passes = value > 0
        axes.fill_between(x, low, high, color=ORANGE, alpha=0.12, lw=0)
        axes.plot(x[passes], value[passes], color=ORANGE, lw=1.6, label="held-out sample")
    if found["lowest_rate"]:
        axes.axhline(found["lowest_rate"], color=GREY, lw=0.8, ls="-.", label="one galaxy")
    axes.set_title("random galaxies (dotted: none passes)")


def _draw_yield(axes, found):
    """Galaxies above each threshold, beside what they should be."""
    rows = found["yield"]
    x = _place([row["threshold"] for row in rows])
    axes.plot(x, [row["n"] or np.nan for row in rows], color="black", lw=1.8, label="galaxies")
    axes.plot(x, [row["n_known"] or np.nan for row in rows], color=GREEN, label="known lenses")
    for name, colour, label in (
        ("lenses", BLUE, "expected lenses"),
        ("false", ORANGE, "expected false positives"),
    ):
        _draw_band(axes, rows, x, name, colour, label)
    if found["graded"]:
        axes.plot(
            x, [row.get("n_ABC") or np.nan for row in rows], "k.", ms=3, label="graded A to C"
        )
    highest = max((row["n"] for row in rows), default=1)
    axes.set(yscale="log", ylim=(0.1, 2 * max(highest, 1)), ylabel="number", title="yield")


def _draw_purity(axes, found):
    """Expected purity above each threshold, probabilities, and what was graded."""
    rows = [row for row in found["yield"] if row["n"]]
    x = _place([row["threshold"] for row in rows])
    _draw_band(axes, rows, x, "purity", BLUE, f"expected, prior {found['prior']:g}")
    if any(row["sky_lenses"] for row in rows):
        sky = [row["sky_lenses"] / row["n"] for row in rows]
        axes.plot(x, sky, color=ORANGE, label="mean probability on the sky")
    graded = [row for row in rows if row.get("n_graded")]
    if graded:
        value, low, high = (
            np.array([row[f"part_ABC{end}"] for row in graded]) for end in ("", "_low", "_high")
        )
        x = _place([row["threshold"] for row in graded])
        axes.fill_between(x, low, high, color="black", alpha=0.15, lw=0)
        axes.plot(x, value, color="black", label="graded A to C, of those graded")
    axes.set(yscale="log", ylim=(1e-5, 1.3), ylabel="part of lenses", title="purity above p")


def _draw_band(axes, rows, x, name, colour, label):
    """A quantity and its interval, where it was measured."""
    value, low, high = (
        np.array([row[f"{name}{end}"] for row in rows], float) for end in ("", "_low", "_high")
    )
    known = np.isfinite(high) & np.isfinite(low)
    axes.fill_between(x[known], low[known], high[known], color=colour, alpha=0.15, lw=0)
    if known.any():
        axes.plot(x, np.where(value > 0, value, np.nan), color=colour, lw=1.6, label=label)
