"""The pages of a sheet: A4, with dark images on white paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.textpath import text_to_path

__all__ = ["Panel", "plot_comparison", "plot_sheet"]

# All lengths are in inches.
_WIDTH, _HEIGHT, _MARGIN = 8.27, 11.69, 0.65

_INNER = _WIDTH - 2 * _MARGIN
_LARGE, _GAP = 3.4, 0.12
_INK, _FAINT, _RULE = "#1a1a1a", "#6b6b6b", "#bdbdbd"

# Colour-blind safe colours on dark and on inverted images.
_ARROW, _ARROW_DARK = "#FFD24D", "#B8400E"


@dataclass(frozen=True)
class Panel:
    """One image of a sheet.

    Attributes
    ----------
    pixels
        uint8 (S, S, 3) in colour, or (S, S) with NaN where there is no data; row 0 in the south,
        column 0 in the east. None if there is no image.
    title
        Above the image.
    bar_arcsec
        Length of the scale bar; none if 0.
    compass
        Whether arrows show North and East.
    inverted
        Whether the sky is white, as on finder charts.
    labels
        Whether the arrows are labelled.
    box_arcsec
        Side of a square about the centre; none if 0.
    message
        In place of an image.
    """

    pixels: np.ndarray | None
    side_arcsec: float
    title: str
    bar_arcsec: float = 0
    compass: bool = False
    inverted: bool = False
    labels: bool = False
    box_arcsec: float = 0
    message: str = ""

    def plot(
        self,
        figure: Figure,
        left: float,
        bottom: float,
        size: float,
        arrows: pd.DataFrame | None = None,
    ) -> None:
        """Add the panel to a figure; coordinates of its axes are arcsec to the East and North.

        Positions on the page are in inches. The tip of an arrow (columns dx, dy, label) points at
        (dx, dy).
        """
        place = (left / _WIDTH, bottom / _HEIGHT, size / _WIDTH, size / _HEIGHT)
        axes = figure.add_axes(place, label=self.title)
        half = self.side_arcsec / 2
        axes.set(xlim=(half, -half), ylim=(-half, half), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=_RULE, linewidth=0.6)
        axes.set_title(self.title, loc="left", fontsize=8.5, color=_INK, pad=3.5, parse_math=False)
        if self.pixels is None:
            axes.set_facecolor("#f3f3f3")
            axes.text(0, 0, self.message, ha="center", va="center", fontsize=8, color=_FAINT,
                      parse_math=False)  # fmt: skip
            return
        extent = (half, -half, -half, half)
        style: dict[str, Any] = {}
        if self.pixels.ndim == 2:
            axes.set_facecolor("#d9d9d9" if self.inverted else "#3e3e44")
            style = {
                "cmap": "gray_r" if self.inverted else "gray",
                "norm": _norm(self.pixels, self.inverted),
            }
        # 'none', not 'nearest': a PDF then holds the pixels themselves.
        axes.imshow(
            self.pixels, origin="lower", extent=extent, interpolation="none", aspect="auto", **style
        )
        scale = size / self.side_arcsec  # inches per arcsec
        ink: dict[str, Any] = {
            "color": _INK if self.inverted else "white",
            "path_effects": [_halo("white", 2.4) if self.inverted else _halo("black")],
        }
        if self.bar_arcsec:
            x = half - 0.12 / scale
            y = -half + 0.14 / scale
            bar = self.bar_arcsec
            axes.plot([x, x - bar], [y, y], lw=1.6, solid_capstyle="butt", **ink)
            length = f'{bar:g}"' if bar < 60 else f"{bar / 60:g}′"
            axes.text(x - bar / 2, y + 0.06 / scale, length, ha="center", va="bottom",
                      fontsize=8, **ink)  # fmt: skip
        if self.compass:
            _plot_compass(axes, half, scale, ink)
        if self.box_arcsec:
            _plot_box(axes, self.box_arcsec)
        if arrows is not None:
            self._plot_arrows(axes, arrows, scale)

    def _plot_arrows(self, axes: Axes, arrows: pd.DataFrame, scale: float) -> None:
        """Plot arrows that point inwards, so as not to cross the lens; outwards near the edge."""
        colour = _ARROW_DARK if self.inverted else _ARROW
        halo = [_halo("white" if self.inverted else "black", 1.4)]
        large = scale * self.side_arcsec > 2.5
        # Lengths in inches, independent of the field.
        clear, length = (0.07, 0.34) if large else (0.04, 0.2)
        for arrow in arrows.itertuples():
            distance = np.hypot(arrow.dx, arrow.dy)
            outward = np.array([arrow.dx, arrow.dy]) / distance if distance else np.array([0, 1])
            source = np.array([arrow.dx, arrow.dy])
            # Near the edge there is no room outside.
            if (
                np.abs(source + outward * (clear + length + 0.15) / scale).max()
                > self.side_arcsec / 2
            ):
                outward = -outward
            tip, tail, text = (
                source + outward * inches / scale
                for inches in (clear, clear + length, clear + length + 0.09)
            )
            note = axes.annotate(
                "", xy=(tip[0], tip[1]), xytext=(tail[0], tail[1]),
                arrowprops={"arrowstyle": "-|>,head_width=0.22,head_length=0.42" if large else
                            "-|>,head_width=0.14,head_length=0.28",
                            "color": colour, "lw": 1.3 if large else 0.9, "shrinkA": 0,
                            "shrinkB": 0, "mutation_scale": 12, "path_effects": halo},
            )  # fmt: skip
            note.set_gid(f"arrow {arrow.label}")
            if self.labels:
                axes.text(text[0], text[1], arrow.label, color=colour, fontsize=9,
                          fontweight="bold", ha="center", va="center", path_effects=halo,
                          clip_on=True, parse_math=False)  # fmt: skip


def _halo(colour: str, width: float = 1.8) -> AbstractPathEffect:
    return withStroke(linewidth=width + 0.6, foreground=colour, alpha=0.8)


def _norm(pixels: np.ndarray, inverted: bool) -> ImageNormalize:
    """Asinh stretch from just below the sky to the brightest 3 in 1000 pixels.

    On an inverted chart the noise stays light, so that arrows are visible and ink is saved.
    """
    finite = pixels[np.isfinite(pixels)]
    sky = np.median(finite)
    noise = 1.4826 * np.median(np.abs(finite - sky))
    below, above, softening = (1, 15, 0.3) if inverted else (2, 5, 0.1)
    low = sky - below * noise
    high = max(np.percentile(finite, 99.7), sky + above * noise)
    # For a flat image any range will do.
    stretch = AsinhStretch(softening)
    return ImageNormalize(vmin=low, vmax=high if high > low else low + 1, stretch=stretch)


def _plot_compass(axes: Axes, half: float, scale: float, ink: dict[str, Any]) -> None:
    x, y, arm = -half + 0.16 / scale, half - 0.56 / scale, 0.32 / scale
    for tip, letter, ha, va in (
        ((x, y + arm), "N", "center", "bottom"),
        ((x + arm, y), "E", "right", "center"),
    ):
        axes.annotate(
            "", xy=tip, xytext=(x, y),
            arrowprops={"arrowstyle": "-|>,head_width=0.16,head_length=0.3", "lw": 1.2,
                        "color": ink["color"], "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12,
                        "path_effects": ink["path_effects"]},
        )  # fmt: skip
        gap = 0.035 / scale
        position = (tip[0], tip[1] + gap) if letter == "N" else (tip[0] + gap, tip[1])
        axes.text(*position, letter, ha=ha, va=va, fontsize=8, **ink)


def _plot_box(axes: Axes, side: float) -> None:
    square = Rectangle(
        (-side / 2, -side / 2), side, side, fill=False, edgecolor=_ARROW_DARK, lw=1.1,
        path_effects=[_halo("white", 1.2)],
    )  # fmt: skip
    axes.add_patch(square)


def plot_sheet(
    name: str,
    subtitle: str,
    facts: Sequence[tuple[str, str]],
    first: Panel,
    small: Sequence[Panel],
    charts: Sequence[Panel],
    arrows: pd.DataFrame,
    footer: str,
) -> Figure:
    """Plot the page of a candidate.

    Parameters
    ----------
    name, subtitle
        At the top.
    facts
        Labels and values beside the first image; a label without a value begins a group.
    small
        The row below.
    charts
        Two finder charts.
    arrows
        Columns dx, dy (arcsec), label.
    """
    figure = _page(name, subtitle, footer)
    bottom = _HEIGHT - 1.62 - _LARGE
    first.plot(figure, _MARGIN, bottom, _LARGE, arrows)
    _write_facts(figure, facts, _MARGIN + _LARGE + 0.28, bottom + _LARGE)
    side = (_INNER - (len(small) - 1) * _GAP) / max(len(small), 4)
    bottom -= 0.36 + side
    for place, panel in enumerate(small):
        panel.plot(figure, _MARGIN + place * (side + _GAP), bottom, side, arrows)
    bottom -= 0.4 + _LARGE
    for place, panel in enumerate(charts):
        left = _MARGIN + place * (_INNER - _LARGE)
        panel.plot(figure, left, bottom, _LARGE, None if panel.box_arcsec else arrows)
    return figure


def plot_comparison(
    name: str,
    subtitle: str,
    pairs: Sequence[Sequence[Panel]],
    arrows: pd.DataFrame,
    footer: str,
) -> Figure:
    """Plot a page that compares the survey's image with one from elsewhere.

    Pairs are panels of the survey and of the other image, at most two, one below the other; other
    arguments are as in `plot_sheet`.
    """
    figure = _page(name, subtitle, footer)
    bottom = _HEIGHT - 1.62
    for pair in pairs:
        bottom -= _LARGE
        for place, panel in enumerate(pair):
            panel.plot(figure, _MARGIN + place * (_INNER - _LARGE), bottom, _LARGE, arrows)
        bottom -= 0.45
    return figure


def _page(name: str, subtitle: str, footer: str) -> Figure:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
    left, right = _MARGIN / _WIDTH, 1 - _MARGIN / _WIDTH

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, 1 - inches / _HEIGHT, text, parse_math=False, **style)

    # The name of a target is given by the user, and may be long.
    name, size = _fit(name, _INNER, 19, 11, "bold")
    write(left, 0.9, name, fontsize=size, fontweight="bold", color=_INK, va="baseline")
    write(left, 1.14, subtitle, fontsize=9, color=_FAINT, va="baseline")
    for inches in (1.25, _HEIGHT - 0.62):
        y = 1 - inches / _HEIGHT
        figure.add_artist(Line2D([left, right], [y, y], color=_RULE, lw=0.7))
    write(left, _HEIGHT - 0.55, footer, fontsize=7, color=_FAINT, va="top", linespacing=1.4)
    return figure


def _write_facts(figure: Figure, facts: Sequence[tuple[str, str]], left: float, top: float) -> None:
    """Write labels and values in two columns, from the top down."""
    room = _LARGE / max(17, sum(1.0 if value else 1.35 for _, value in facts))
    y = top - 0.1
    style: dict[str, Any]
    for place, (label, value) in enumerate(facts):
        if not value:
            y -= 0.35 * room if place else 0
            style = {"fontsize": 8.5, "fontweight": "bold", "color": _INK}
            figure.text(left / _WIDTH, y / _HEIGHT, label, va="baseline", **style)
        else:
            style = {"va": "baseline", "parse_math": False}
            figure.text(left / _WIDTH, y / _HEIGHT, label, color=_FAINT, fontsize=8.5, **style)
            x = left + 1.12
            value, size = _fit(value, _WIDTH - _MARGIN - x, 8.5, 7)
            figure.text(x / _WIDTH, y / _HEIGHT, value, color=_INK, fontsize=size, **style)
        y -= room


def _fit(
    text: str, room: float, size: float, min_size: float, weight: str = "normal"
) -> tuple[str, float]:
    """Reduce a text's font size, and at the minimum size its length, to fit into `room` inches."""

    def width(text: str) -> float:
        font = FontProperties(size=size, weight=weight)
        return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72

    if (full := width(text)) > room:
        reduced = max(min_size, size * room / full)
        while len(text) > 1 and width(text) * reduced / size > room:
            text = text[:-2] + "…"
        size = reduced
    return text, size
