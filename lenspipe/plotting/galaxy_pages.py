"""A page of cutouts for the eye: colour, single bands, residuals, and a few words on each."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lenspipe.config.flags import flag_note
from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.residual import residual_images
from lenspipe.utils.files import atomic

__all__ = ["TILE", "draw_page", "key_of", "say_p", "say_redshift"]

#: Side of the first panel on the page, pixels: twice a cutout of 101. The others have half of it.
TILE = 202

_HALF = TILE // 2

_GAP, _LINE, _HEADER, _MARGIN = 8, 16, 58, 12

_SCALE_BAR_ARCSEC = 5

_BACKGROUND, _TEXT, _FAINT, _NOTE = (16, 17, 20), (236, 236, 236), (165, 168, 176), (255, 190, 80)

_MARKS, _SHADOW = (235, 235, 235), (0, 0, 0)

# Columns that hold a redshift, the best first, and its kind where the column's name says it.
_REDSHIFTS = {"z": "", "z_spec": "spec", "z_phot": "phot", "z_phot_median": "phot"}


def draw_page(
    images,
    table,
    path,
    *,
    bands,
    stretch="viewer",
    columns=6,
    panels=("rgb",),
    title="",
    subtitle="",
    message="",
    key="",
):
    """Draw galaxies side by side, each with panels, rank, probability, name, and what is known.

    The first panel has a scale bar and arrows to the North, which is up, and to the East, which is
    left; the others stand beside it at half its size, two above each other. A galaxy with flags
    has a frame, and in it what they say. The same input gives the same bytes.

    Parameters
    ----------
    images : array_like, shape (N, B, S, S)
        Cutouts in nanomaggies, row 0 in the south.
    table : pandas.DataFrame
        N rows with ``rank`` and ``name``; where there are such columns also ``p`` (NaN where there
        is none), ``note`` (said of a galaxy), ``flags``, a redshift (see `say_redshift`),
        ``shape_e1`` and ``shape_e2`` (for the residual), and, all in a third line, the reddest
        band's ``mag_<band>``, ``type`` and ``nobs_<band>``.
    path : str or path-like
        The PNG.
    bands : sequence of str
        The B bands.
    stretch : {'viewer', 'lupton'}
        Colour stretch.
    columns : int
        Galaxies in a row.
    panels : sequence of str
        'rgb', 'residual' (in colour, after `lenspipe.plotting.residual.residual_images`), or bands.
    title, subtitle : str
        The lines above the tiles.
    message : str
        Stands in the middle of a page without tiles.
    key : str
        What the page was made of; kept in the PNG's text, see `key_of`.
    """
    block = TILE + _HALF * (len(panels) // 2)
    caption = (3 if f"mag_{bands[-1]}" in table else 2) * _LINE + 2
    n_rows = max(1, -(-len(table) // columns))
    width = 2 * _MARGIN + columns * (block + _GAP) - _GAP
    height = _HEADER + _MARGIN + n_rows * (TILE + caption + _GAP) - _GAP
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    corners = [
        (_MARGIN + i % columns * (block + _GAP), _HEADER + i // columns * (TILE + caption + _GAP))
        for i in range(len(table))
    ]
    if corners:
        images = np.asarray(images)
        for number, pictures in enumerate(_pictures(images, table, bands, stretch, panels)):
            left, top, side = _place(number)
            for picture, (x, y) in zip(_enlarge(pictures, side), corners, strict=True):
                canvas[y + top : y + top + side, x + left : x + left + side] = picture
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 8), title, font=_font(18, bold=True), fill=_TEXT)
    draw.text((_MARGIN, 33), subtitle, font=_font(13), fill=_FAINT)
    if not corners:
        middle = (width // 2, (height + _HEADER) // 2)
        draw.text(middle, message, font=_font(20), fill=_TEXT, anchor="mm")
    else:
        marks = _marks(tuple(panels), _SCALE_BAR_ARCSEC / PIXEL_SCALE_ARCSEC / images.shape[-1])
        for row, corner in zip(table.to_dict("records"), corners, strict=True):
            page.paste(marks, corner, marks)
            _draw_caption(draw, *corner, block, row, bands)
    info = PngInfo()
    info.add_text("lenspipe-key", key)
    with atomic(path) as temporary:
        page.save(temporary, format="PNG", compress_level=4, pnginfo=info)


def _pictures(images, table, bands, stretch, panels):
    """Yield the pictures of each panel, (N, S, S, 3), first row at the top: the North."""
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


def _place(number):
    """Left, top and side of a panel in its block."""
    if number == 0:
        return 0, 0, TILE
    column, row = divmod(number - 1, 2)
    return TILE + column * _HALF, row * _HALF, _HALF


def _enlarge(pictures, side):
    """Bring pictures to a side in pixels.

    By whole pixels where they fit: nothing is invented, and the file is less than half as large.
    """
    factor = side / pictures.shape[1]
    if factor % 1 == 0:
        return pictures.repeat(int(factor), axis=1).repeat(int(factor), axis=2)
    return np.array(
        [
            Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.LANCZOS)
            for picture in pictures
        ]
    )


@functools.cache
def _font(size, bold=False):
    """DejaVu, which matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)


@functools.cache
def _marks(panels, bar):
    """What lies over all galaxies alike, drawn once; `bar` is a part of the first panel's side."""
    layer = Image.new("RGBA", (TILE + _HALF * (len(panels) // 2), TILE))
    draw = ImageDraw.Draw(layer)
    text = {"font": _font(11), "fill": _MARKS, "stroke_width": 1, "stroke_fill": _SHADOW}
    for number, panel in enumerate(panels):
        left, top, side = _place(number)
        if number:
            draw.line((left, top, left, top + side), fill=_BACKGROUND)
            draw.line((left, top, left + side, top), fill=_BACKGROUND)
        if len(panels) > 1:
            draw.text((left + 5, top + 4), panel, anchor="la", **text)
    left, bottom, length = 8, TILE - 9, bar * TILE
    _draw_line(draw, (left, bottom, left + length, bottom))
    draw.text((left + length / 2, bottom - 4), f'{_SCALE_BAR_ARCSEC}"', anchor="mb", **text)
    right, top, arm = TILE - 10, 18, 15
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


def _draw_line(draw, ends):
    draw.line(ends, fill=_SHADOW, width=4)
    draw.line(ends, fill=_MARKS, width=2)


def _draw_caption(draw, x, y, block, row, bands):
    """Rank, p and note; name and redshift; magnitude, type and exposures; a frame for flags."""
    if flags := row.get("flags"):
        draw.rectangle((x, y, x + block - 1, y + TILE - 1), outline=_NOTE, width=2)
        text = {"font": _font(11), "fill": _NOTE, "stroke_width": 1, "stroke_fill": _SHADOW}
        said = _fit(flag_note(flags), TILE - 70)
        draw.text((x + TILE - 8, y + TILE - 8), said, anchor="rs", **text)
    y, right = y + TILE + 2, x + block
    rank, p = f"{row['rank']}", say_p(row["p"]) if "p" in row else ""
    p = f"p {p}" if p and not np.isnan(row["p"]) else p
    bold, plain, small = _font(13, bold=True), _font(13), _font(12)
    draw.text((x, y), rank, font=bold, fill=_TEXT)
    after = x + bold.getlength(rank) + 8
    draw.text((after, y), p, font=plain, fill=_TEXT)
    room = right - after - plain.getlength(p) - 8
    draw.text((right, y), _fit(row.get("note") or "", room), font=small, fill=_NOTE, anchor="ra")
    redshift = say_redshift(row)
    redshift = f"z {redshift}" if redshift else ""
    draw.text((right, y + _LINE), redshift, font=small, fill=_TEXT, anchor="ra")
    name = _fit(str(row["name"]), block - small.getlength(redshift) - (8 if redshift else 0))
    draw.text((x, y + _LINE), name, font=small, fill=_FAINT)
    facts = _say_facts(row, bands)
    draw.text((x, y + 2 * _LINE), _fit(facts, block), font=small, fill=_FAINT)


def _say_facts(row, bands):
    """Such as ``mag z 18.43  DEV  5 5 4 exposures``."""
    facts = []
    if f"mag_{bands[-1]}" in row:
        facts = [f"mag {bands[-1]} {row[f'mag_{bands[-1]}']:.2f}"]
        facts += [row["type"]] if "type" in row else []
        if all(f"nobs_{band}" in row for band in bands):
            facts.append("exp " + "/".join(str(row[f"nobs_{band}"]) for band in bands))
    return "   ".join(facts)


def _fit(text, room):
    """Cut a text in the small font so that it fits."""
    font = _font(12)
    while text and font.getlength(text) > room:
        text = text[:-2].rstrip(" .,…") + "…" if len(text) > 2 else ""
    return text


def say_p(p):
    """Say a probability: four decimals, more where they would hide the order near 1.

    Parameters
    ----------
    p : float

    Returns
    -------
    str
        Such as ``0.9731`` or ``0.9999961``; ``no score`` for NaN.
    """
    if np.isnan(p):
        return "no score"
    if p < 0.99995:
        return f"{p:.4f}"
    return f"{p:.7f}".rstrip("0") if p < 1 else "1"


def say_redshift(row):
    """Say the redshift of a galaxy and its kind.

    Parameters
    ----------
    row : mapping
        With ``z`` and ``z_kind``, or ``z_spec``, ``z_phot`` or ``z_phot_median``, if any.

    Returns
    -------
    str
        Such as ``0.512 spec``; empty without a positive one.
    """
    for name, kind in _REDSHIFTS.items():
        if row.get(name, 0) > 0:
            return f"{row[name]:.3f} {kind or row.get('z_kind', '')}".rstrip()
    return ""


def key_of(path):
    """Read the key kept in a page.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    str or None
        None without a page.
    """
    if not path.exists():
        return None
    with Image.open(path) as page:
        return page.info.get("lenspipe-key")
