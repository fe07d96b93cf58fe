"""Pages of cutouts for visual inspection: colour, single bands, residuals, and captions."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lenspipe.config.flags import flag_note
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.residual import residual_images
from lenspipe.utils.files import atomic

__all__ = [
    "TILE_PIXELS",
    "PageLayout",
    "draw_page",
    "format_probability",
    "format_redshift",
    "page_key",
    "page_layout",
]

#: Side of the first panel on the page, pixels: twice a cutout of 101. The others are half as large.
TILE_PIXELS = 202
_HALF = TILE_PIXELS // 2
_GAP, _LINE, _HEADER, _MARGIN = 8, 16, 58, 12
_SCALE_BAR_ARCSEC = 5
_BACKGROUND, _TEXT, _FAINT, _NOTE = (16, 17, 20), (236, 236, 236), (165, 168, 176), (255, 190, 80)
_MARKS, _SHADOW = (235, 235, 235), (0, 0, 0)
# Columns of redshifts, the preferred one first, and their kind where the name of the column tells.
_REDSHIFTS = {"z": "", "z_spec": "spec", "z_phot": "phot", "z_phot_median": "phot"}


class PageLayout(NamedTuple):
    """Places on a page, in pixels from its left and upper edge.

    Attributes
    ----------
    header
        Height of the lines above the galaxies.
    block
        Width of a galaxy with all its panels.
    corners
        Left upper corner of each galaxy's first panel, `TILE_PIXELS` wide and high.
    """

    width: int
    height: int
    header: int
    block: int
    corners: list[tuple[int, int]]


def page_layout(
    number: int, columns: int, panels: Sequence[str], note: str = "", photometry: bool = True
) -> PageLayout:
    """Return where `draw_page` draws a number of galaxies.

    Parameters
    ----------
    photometry
        Whether their captions have the third line.
    """
    block = TILE_PIXELS + _HALF * (len(panels) // 2)
    tall = TILE_PIXELS + (3 if photometry else 2) * _LINE + 2
    width = 2 * _MARGIN + columns * (block + _GAP) - _GAP
    header = _HEADER + len(_wrap(note, width - 2 * _MARGIN)) * _LINE
    height = header + _MARGIN + max(1, -(-number // columns)) * (tall + _GAP) - _GAP
    corners = [
        (_MARGIN + i % columns * (block + _GAP), header + i // columns * (tall + _GAP))
        for i in range(number)
    ]
    return PageLayout(width, height, header, block, corners)


def draw_page(
    images: ArrayLike,
    table: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    bands: Sequence[str],
    pixel_scale_arcsec: float,
    stretch: str = "viewer",
    columns: int = 6,
    panels: Sequence[str] = ("rgb",),
    title: str = "",
    subtitle: str = "",
    note: str = "",
    message: str = "",
    key: str = "",
) -> None:
    """Draw galaxies side by side, each with its panels and a caption.

    The first panel has a scale bar and arrows to the North (up) and East (left); the others are
    beside it at half its size, in columns of two. A galaxy with flags has a frame with the flags
    in words. The same input gives the same bytes.

    Parameters
    ----------
    images
        Cutouts in nanomaggies, (N, B, S, S), row 0 in the south.
    table
        N rows with ``rank`` and ``name``, and optionally ``p`` (NaN where there is none), ``note``
        (shown in the caption), ``flags``, a redshift (see `format_redshift`), ``shape_e1`` and
        ``shape_e2`` (for the residual), and, for a third line of the caption, the reddest band's
        ``mag_<band>``, ``type`` and ``nobs_<band>``.
    path
        Of the PNG.
    bands
        The B bands.
    pixel_scale_arcsec
        Of the cutouts, for the scale bar.
    stretch : {'viewer', 'lupton'}
    columns
        Galaxies in a row.
    panels
        'rgb', 'residual' (in colour, after `lenspipe.plotting.residual.residual_images`), or bands.
    title, subtitle
        The lines above the tiles.
    note
        What has to be known of the scores; below these lines, in as many as it needs.
    message
        Shown in the middle of a page without tiles.
    key
        Identifies the page's input; stored in the PNG's text, see `page_key`.
    """
    layout = page_layout(len(table), columns, panels, note, f"mag_{bands[-1]}" in table)
    width, height, header, corners = layout.width, layout.height, layout.header, layout.corners
    notes = _wrap(note, width - 2 * _MARGIN)
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    cutouts = np.asarray(images)
    if corners:
        for number, pictures in enumerate(_pictures(cutouts, table, bands, stretch, panels)):
            left, top, side = _place(number)
            for picture, (x, y) in zip(_enlarge(pictures, side), corners, strict=True):
                canvas[y + top : y + top + side, x + left : x + left + side] = picture
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 8), title, font=_title_font(title, width - 2 * _MARGIN), fill=_TEXT)
    draw.text((_MARGIN, 33), subtitle, font=_font(13), fill=_FAINT)
    for number, line in enumerate(notes):
        draw.text((_MARGIN, _HEADER - 6 + number * _LINE), line, font=_font(12), fill=_NOTE)
    if not corners:
        middle = (width // 2, (height + header) // 2)
        draw.text(middle, message, font=_font(20), fill=_TEXT, anchor="mm")
    else:
        bar = _SCALE_BAR_ARCSEC / pixel_scale_arcsec / cutouts.shape[-1]
        marks = _marks(tuple(panels), bar)
        for row, corner in zip(table.to_dict("records"), corners, strict=True):
            page.paste(marks, corner, marks)
            _draw_caption(draw, *corner, layout.block, row, bands)
    info = PngInfo()
    info.add_text("lenspipe-key", key)
    with atomic(path) as temporary:
        page.save(temporary, format="PNG", compress_level=4, pnginfo=info)


def _pictures(
    images: np.ndarray,
    table: pd.DataFrame,
    bands: Sequence[str],
    stretch: str,
    panels: Sequence[str],
) -> Iterator[np.ndarray]:
    """Yield the images of each panel, (N, S, S, 3), with the North in the first row."""
    for panel in panels:
        if panel == "rgb":
            pictures = colour_images(images, bands, stretch)
        elif panel == "residual":
            shape = ["shape_e1", "shape_e2"]
            shapes = table[shape].to_numpy() if set(shape) <= set(table) else None
            pictures = colour_images(residual_images(images, shapes), bands, stretch)
        else:
            band = list(bands).index(panel)
            pictures = colour_images(images[:, [band]], [panel], stretch)
        yield pictures[:, ::-1]


def _place(number: int) -> tuple[int, int, int]:
    """Left, top and side of a panel in its block."""
    if number == 0:
        return 0, 0, TILE_PIXELS
    column, row = divmod(number - 1, 2)
    return TILE_PIXELS + column * _HALF, row * _HALF, _HALF


def _enlarge(pictures: np.ndarray, side: int) -> np.ndarray:
    """Scale images to a side in pixels.

    Pixels are repeated where the factor is whole: without interpolation files are less than half
    as large.
    """
    factor = side / pictures.shape[1]
    if factor % 1 == 0:
        return pictures.repeat(int(factor), axis=1).repeat(int(factor), axis=2)
    images = (Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures)
    return np.array([image.resize((side, side), Image.Resampling.LANCZOS) for image in images])


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu, as shipped with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)


def _title_font(title: str, room: float) -> ImageFont.FreeTypeFont:
    """Largest font, of 18 pixels at most and 10 at least, in which a title fits."""
    sizes = range(18, 10, -1)
    fonts = (_font(size, bold=True) for size in sizes)
    fitting = (font for font in fonts if font.getlength(title) <= room)
    return next(fitting, _font(10, bold=True))


def _outlined(colour: tuple[int, int, int]) -> dict[str, Any]:
    """Style of texts on images."""
    return {"font": _font(11), "fill": colour, "stroke_width": 1, "stroke_fill": _SHADOW}


@functools.cache
def _marks(panels: tuple[str, ...], bar: float) -> Image.Image:
    """Marks common to all galaxies; `bar` is a fraction of the first panel's side."""
    layer = Image.new("RGBA", (TILE_PIXELS + _HALF * (len(panels) // 2), TILE_PIXELS))
    draw = ImageDraw.Draw(layer)
    text = _outlined(_MARKS)
    for number, panel in enumerate(panels):
        left, top, side = _place(number)
        if number:
            draw.line((left, top, left, top + side), fill=_BACKGROUND)
            draw.line((left, top, left + side, top), fill=_BACKGROUND)
        if len(panels) > 1:
            draw.text((left + 5, top + 4), panel, anchor="la", **text)
    left, bottom, length = 8, TILE_PIXELS - 9, bar * TILE_PIXELS
    _draw_line(draw, (left, bottom, left + length, bottom))
    draw.text((left + length / 2, bottom - 4), f'{_SCALE_BAR_ARCSEC}"', anchor="mb", **text)
    right, top, arm = TILE_PIXELS - 10, 18, 15
    corner = top + arm
    _draw_line(draw, (right, corner, right, top))
    _draw_line(draw, (right, corner, right - arm, corner))
    for head in (
        [(right - 3, top + 2), (right + 3, top + 2), (right, top - 3)],
        [(right - arm + 2, corner - 3), (right - arm + 2, corner + 3), (right - arm - 3, corner)],
    ):
        draw.polygon(head, fill=_MARKS)
    draw.text((right, top - 4), "N", anchor="mb", **text)
    draw.text((right - arm - 5, corner), "E", anchor="rm", **text)
    return layer


def _draw_line(draw: ImageDraw.ImageDraw, ends: tuple[float, float, float, float]) -> None:
    draw.line(ends, fill=_SHADOW, width=4)
    draw.line(ends, fill=_MARKS, width=2)


def _draw_caption(
    draw: ImageDraw.ImageDraw,
    x: int,
    y: int,
    block: int,
    row: Mapping[str, Any],
    bands: Sequence[str],
) -> None:
    """Rank, p and note; name and redshift; magnitude, type and exposures; a frame for flags."""
    if flags := row.get("flags"):
        draw.rectangle((x, y, x + block - 1, y + TILE_PIXELS - 1), outline=_NOTE, width=2)
        note = _fit(flag_note(flags), TILE_PIXELS - 70)
        draw.text((x + TILE_PIXELS - 8, y + TILE_PIXELS - 8), note, anchor="rs", **_outlined(_NOTE))
    y, right = y + TILE_PIXELS + 2, x + block
    rank, p = f"{row['rank']}", format_probability(row["p"]) if "p" in row else ""
    p = f"p {p}" if p and not np.isnan(row["p"]) else p
    bold, plain, small = _font(13, bold=True), _font(13), _font(12)
    draw.text((x, y), rank, font=bold, fill=_TEXT)
    after = x + bold.getlength(rank) + 8
    draw.text((after, y), p, font=plain, fill=_TEXT)
    room = right - after - plain.getlength(p) - 8
    draw.text((right, y), _fit(row.get("note") or "", room), font=small, fill=_NOTE, anchor="ra")
    redshift = format_redshift(row)
    redshift = f"z {redshift}" if redshift else ""
    draw.text((right, y + _LINE), redshift, font=small, fill=_TEXT, anchor="ra")
    name = _fit(str(row["name"]), block - small.getlength(redshift) - (8 if redshift else 0))
    draw.text((x, y + _LINE), name, font=small, fill=_FAINT)
    photometry = _format_photometry(row, bands)
    draw.text((x, y + 2 * _LINE), _fit(photometry, block), font=small, fill=_FAINT)


def _format_photometry(row: Mapping[str, Any], bands: Sequence[str]) -> str:
    """Such as ``mag z 18.43   DEV   exp 5/5/4``."""
    facts = []
    if f"mag_{bands[-1]}" in row:
        facts = [f"mag {bands[-1]} {row[f'mag_{bands[-1]}']:.2f}"]
        facts += [row["type"]] if "type" in row else []
        if all(f"nobs_{band}" in row for band in bands):
            facts.append("exp " + "/".join(str(row[f"nobs_{band}"]) for band in bands))
    return "   ".join(facts)


def _fit(text: str, room: float) -> str:
    """Shorten a text in the small font so that it fits."""
    font = _font(12)
    while text and font.getlength(text) > room:
        text = text[:-2].rstrip(" .,…") + "…" if len(text) > 2 else ""
    return text


def _wrap(text: str, room: float) -> list[str]:
    """Divide a text in the small font into lines that fit."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(12).getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def format_probability(p: float) -> str:
    """Format a probability with three decimals, the last that a score supports.

    Such as ``0.973``, ``>0.999`` or ``<0.001``; ``no score`` for NaN. Used wherever people read a
    probability of a galaxy; the tables have all digits.
    """
    if np.isnan(p):
        return "no score"
    if p >= 0.9995:
        return ">0.999"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def format_redshift(row: Mapping[str, Any]) -> str:
    """Format the redshift of a galaxy and its kind, such as ``0.512 spec``.

    Parameters
    ----------
    row
        With ``z`` and ``z_kind``, or ``z_spec``, ``z_phot`` or ``z_phot_median``, if any.

    Returns
    -------
    str
        Empty without a positive redshift.
    """
    for name, kind in _REDSHIFTS.items():
        if row.get(name, 0) > 0:
            return f"{row[name]:.3f} {kind or row.get('z_kind', '')}".rstrip()
    return ""


def page_key(path: Path) -> str | None:
    """Read the key stored in a page; None without a page."""
    if not path.exists():
        return None
    with Image.open(path) as page:
        return page.info.get("lenspipe-key")
