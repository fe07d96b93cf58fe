"""The pages of a sheet: dark images on white paper, A4."""

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path

__all__ = ["Panel", "draw_comparison", "draw_sheet"]

_WIDTH, _HEIGHT, _MARGIN = 8.27, 11.69, 0.65

_INNER = _WIDTH - 2 * _MARGIN

_LARGE, _GAP = 3.4, 0.12

_INK, _FAINT, _RULE = "#1a1a1a", "#6b6b6b", "#bdbdbd"

#: On dark images and on inverted ones, told apart by most eyes.
_ARROW, _ARROW_DARK = "#FFD24D", "#B8400E"


class Panel:
    """One image of a sheet.

    Parameters
    ----------
    pixels : array or None
        (S, S, 3) uint8 in colour, or (S, S) with NaN where there is no data; row 0 in the south,
        column 0 in the east. None where there is nothing to show.
    side_arcsec : float
    title : str
        Stands above it.
    bar_arcsec : float
        Length of the scale bar; none if 0.
    compass : bool
        Whether arrows show North and East.
    inverted : bool
        Whether the sky is white, as on finder charts.
    labels : bool
        Whether arrows have their labels.
    box_arcsec : float
        Side of a square about the centre; none if 0.
    message : str
        Stands in place of an image.
    """

    def __init__(
        self,
        pixels,
        side_arcsec,
        title,
        *,
        bar_arcsec=0,
        compass=False,
        inverted=False,
        labels=False,
        box_arcsec=0,
        message="",
    ):
        self.pixels, self.side, self.title = pixels, side_arcsec, title
        self.bar, self.compass, self.inverted = bar_arcsec, compass, inverted
        self.labels, self.box, self.message = labels, box_arcsec, message

    def draw(self, figure, left, bottom, size, arrows=None):
        """Draw it into a figure; coordinates of its axes are arcsec to the East and North.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
        left, bottom, size : float
            Inches.
        arrows : pandas.DataFrame, optional
            Columns dx, dy, label; the tip of an arrow points at (dx, dy).
        """
        place = (left / _WIDTH, bottom / _HEIGHT, size / _WIDTH, size / _HEIGHT)
        axes = figure.add_axes(place, label=self.title)
        half = self.side / 2
        axes.set(xlim=(half, -half), ylim=(-half, half), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=_RULE, linewidth=0.6)
        axes.set_title(self.title, loc="left", fontsize=8.5, color=_INK, pad=3.5, parse_math=False)
        if self.pixels is None:
            axes.set_facecolor("#f3f3f3")
            axes.text(0, 0, self.message, ha="center", va="center", fontsize=8, color=_FAINT,
                      parse_math=False)  # fmt: skip
            return
        extent, look = (half, -half, -half, half), {}
        if self.pixels.ndim == 2:
            axes.set_facecolor("#d9d9d9" if self.inverted else "#3e3e44")
            look = {
                "cmap": "gray_r" if self.inverted else "gray",
                "norm": _norm(self.pixels, self.inverted),
            }
        # 'none', not 'nearest': a PDF then holds the pixels themselves.
        axes.imshow(
            self.pixels, origin="lower", extent=extent, interpolation="none", aspect="auto", **look
        )
        scale = size / self.side  # inches per arcsec
        ink = {
            "color": _INK if self.inverted else "white",
            "path_effects": [_halo("white", 2.4) if self.inverted else _halo("black")],
        }
        if self.bar:
            x = half - 0.12 / scale
            y = -half + 0.14 / scale
            axes.plot([x, x - self.bar], [y, y], lw=1.6, solid_capstyle="butt", **ink)
            said = f'{self.bar:g}"' if self.bar < 60 else f"{self.bar / 60:g}′"
            axes.text(x - self.bar / 2, y + 0.06 / scale, said, ha="center", va="bottom",
                      fontsize=8, **ink)  # fmt: skip
        if self.compass:
            _draw_compass(axes, half, scale, ink)
        if self.box:
            _draw_box(axes, self.box)
        if arrows is not None:
            self._draw_arrows(axes, arrows, scale)

    def _draw_arrows(self, axes, arrows, scale):
        """Arrows from outside, where they do not cross the lens; from inside at the rim."""
        colour = _ARROW_DARK if self.inverted else _ARROW
        halo = [_halo("white" if self.inverted else "black", 1.4)]
        large = scale * self.side > 2.5
        # Lengths in inches: the same on the page whatever the field is.
        clear, length = (0.07, 0.34) if large else (0.04, 0.2)
        for arrow in arrows.itertuples():
            distance = np.hypot(arrow.dx, arrow.dy)
            outward = np.array([arrow.dx, arrow.dy]) / distance if distance else np.array([0, 1])
            source = np.array([arrow.dx, arrow.dy])
            # Near the rim there is no room outside.
            if np.abs(source + outward * (clear + length + 0.15) / scale).max() > self.side / 2:
                outward = -outward
            tip, tail = (source + outward * inches / scale for inches in (clear, clear + length))
            note = axes.annotate(
                "", xy=tip, xytext=tail,
                arrowprops={"arrowstyle": "-|>,head_width=0.22,head_length=0.42" if large else
                            "-|>,head_width=0.14,head_length=0.28",
                            "color": colour, "lw": 1.3 if large else 0.9, "shrinkA": 0,
                            "shrinkB": 0, "mutation_scale": 12, "path_effects": halo},
            )  # fmt: skip
            note.set_gid(f"arrow {arrow.label}")
            if self.labels:
                axes.text(*(tail + outward * 0.09 / scale), arrow.label, color=colour, fontsize=9,
                          fontweight="bold", ha="center", va="center", path_effects=halo,
                          clip_on=True, parse_math=False)  # fmt: skip


def _halo(colour, width=1.8):
    return withStroke(linewidth=width + 0.6, foreground=colour, alpha=0.8)


def _norm(pixels, inverted):
    """Asinh stretch from just below the sky to the brightest 3 in 1000 pixels.

    On an inverted chart noise is kept light, for its arrows and for the printer.
    """
    finite = pixels[np.isfinite(pixels)]
    sky = np.median(finite)
    noise = 1.4826 * np.median(np.abs(finite - sky))
    below, above, softening = (1, 15, 0.3) if inverted else (2, 5, 0.1)
    low = sky - below * noise
    high = max(np.percentile(finite, 99.7), sky + above * noise)
    # Of a flat image any range will do.
    stretch = AsinhStretch(softening)
    return ImageNormalize(vmin=low, vmax=high if high > low else low + 1, stretch=stretch)


def _draw_compass(axes, half, scale, ink):
    """North and East at the upper right."""
    x, y, arm = -half + 0.16 / scale, half - 0.56 / scale, 0.32 / scale
    for tip, word, ha, va in (
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
        place = (tip[0], tip[1] + gap) if word == "N" else (tip[0] + gap, tip[1])
        axes.text(*place, word, ha=ha, va=va, fontsize=8, **ink)


def _draw_box(axes, side):
    square = Rectangle(
        (-side / 2, -side / 2), side, side, fill=False, edgecolor=_ARROW_DARK, lw=1.1,
        path_effects=[_halo("white", 1.2)],
    )  # fmt: skip
    axes.add_patch(square)


def draw_sheet(name, subtitle, facts, first, small, charts, arrows, footer):
    """Draw the page of a candidate.

    Parameters
    ----------
    name, subtitle : str
        Its head.
    facts : list of tuple of str
        What is said beside the first image: (word, value); a word alone begins a group.
    first : Panel
    small : list of Panel
        The row below.
    charts : list of Panel
        Two finder charts.
    arrows : pandas.DataFrame
        Columns dx, dy (arcsec), label.
    footer : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = _page(name, subtitle, footer)
    bottom = _HEIGHT - 1.62 - _LARGE
    first.draw(figure, _MARGIN, bottom, _LARGE, arrows)
    _write_facts(figure, facts, _MARGIN + _LARGE + 0.28, bottom + _LARGE)
    side = (_INNER - (len(small) - 1) * _GAP) / max(len(small), 4)
    bottom -= 0.36 + side
    for place, panel in enumerate(small):
        panel.draw(figure, _MARGIN + place * (side + _GAP), bottom, side, arrows)
    bottom -= 0.4 + _LARGE
    for place, panel in enumerate(charts):
        left = _MARGIN + place * (_INNER - _LARGE)
        panel.draw(figure, left, bottom, _LARGE, None if panel.box else arrows)
    return figure


def draw_comparison(name, subtitle, pairs, arrows, footer):
    """Draw a page of an image of other origin beside the survey's.

    Parameters
    ----------
    name, subtitle, footer, arrows
        As in `draw_sheet`.
    pairs : list of tuple of Panel
        Survey's and other's; at most two pairs, one below the other.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = _page(name, subtitle, footer)
    bottom = _HEIGHT - 1.62
    for pair in pairs:
        bottom -= _LARGE
        for place, panel in enumerate(pair):
            panel.draw(figure, _MARGIN + place * (_INNER - _LARGE), bottom, _LARGE, arrows)
        bottom -= 0.45
    return figure


def _page(name, subtitle, footer):
    figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
    left, right = _MARGIN / _WIDTH, 1 - _MARGIN / _WIDTH

    def write(x, inches, text, **how):
        return figure.text(x, 1 - inches / _HEIGHT, text, parse_math=False, **how)

    # A name is the user's own in a list of targets, and may be long.
    name, size = _fit(name, _INNER, 19, 11, "bold")
    write(left, 0.9, name, fontsize=size, fontweight="bold", color=_INK, va="baseline")
    write(left, 1.14, subtitle, fontsize=9, color=_FAINT, va="baseline")
    for inches in (1.25, _HEIGHT - 0.62):
        y = 1 - inches / _HEIGHT
        figure.add_artist(Line2D([left, right], [y, y], color=_RULE, lw=0.7))
    write(left, _HEIGHT - 0.55, footer, fontsize=7, color=_FAINT, va="top", linespacing=1.4)
    return figure


def _write_facts(figure, facts, left, top):
    """Words and values in two columns, from the top down."""
    room = _LARGE / max(17, sum(1.0 if value else 1.35 for _, value in facts))
    y = top - 0.1
    for place, (word, value) in enumerate(facts):
        if not value:
            y -= 0.35 * room if place else 0
            how = {"fontsize": 8.5, "fontweight": "bold", "color": _INK}
            figure.text(left / _WIDTH, y / _HEIGHT, word, va="baseline", **how)
        else:
            how = {"va": "baseline", "parse_math": False}
            figure.text(left / _WIDTH, y / _HEIGHT, word, color=_FAINT, fontsize=8.5, **how)
            x = left + 1.12
            value, size = _fit(value, _WIDTH - _MARGIN - x, 8.5, 7)
            figure.text(x / _WIDTH, y / _HEIGHT, value, color=_INK, fontsize=size, **how)
        y -= room


def _fit(text, room, size, least, weight="normal"):
    """Make a text smaller, and at the least size shorter, so that it fits into `room` inches."""

    def width(text):
        font = FontProperties(size=size, weight=weight)
        return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72

    if (wide := width(text)) > room:
        smallest = max(least, size * room / wide)
        while len(text) > 1 and width(text) * smallest / size > room:
            text = text[:-2] + "…"
        size = smallest
    return text, size
