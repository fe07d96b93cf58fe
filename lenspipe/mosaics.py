"""Pages of colour images for inspection: of all candidates and of each brick's galaxies."""

import functools
import json
from pathlib import Path

import fitsio
import matplotlib
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lenspipe.bricks import bricks_of_chunk, find_brick
from lenspipe.candidates import page_of_rank, read_candidates, shown_names
from lenspipe.colour import colour_images
from lenspipe.config import digest
from lenspipe.cutouts import read_cutouts
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest, update_manifest, write_manifest
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.stamps import FLAGS
from lenspipe.survey import PIXEL_SCALE_ARCSEC

__all__ = ["brick_mosaic", "brick_mosaics_of_chunk", "candidate_pages", "draw_page", "read_images"]

#: Version of the drawing; change it when pages should be drawn anew.
VERSION = 1

#: Side of a tile on the page, pixels: twice a cutout of 101.
TILE = 202
_GAP, _CAPTION, _HEADER, _MARGIN = 8, 34, 58, 12
_SCALE_BAR_ARCSEC = 5
_BACKGROUND, _TEXT, _FAINT, _NOTE = (16, 17, 20), (236, 236, 236), (165, 168, 176), (255, 190, 80)
_MARKS, _SHADOW = (235, 235, 235), (0, 0, 0)
# Images held in memory while candidates are drawn: ~120 MB at 101 pixels and three bands.
_BATCH = 1000


def draw_page(
    images,
    table,
    path,
    *,
    bands,
    stretch="viewer",
    columns=8,
    title="",
    subtitle="",
    message="",
    key="",
):
    """Draw cutouts side by side, each with rank, probability, name, scale bar and North arrow.

    North is up and East to the left. The same input gives the same bytes.

    Parameters
    ----------
    images : array_like, shape (N, B, S, S)
        Cutouts in nanomaggies, row 0 in the south.
    table : pandas.DataFrame
        N rows with ``rank``, ``name`` and, where there are scores, ``p`` (NaN where there is none)
        and, where something is to be said of a galaxy, ``note``.
    path : str or path-like
        The PNG.
    bands : sequence of str
        The B bands.
    stretch : {'viewer', 'lupton'}
        Colour stretch.
    columns : int
        Tiles in a row.
    title, subtitle : str
        The lines above the tiles.
    message : str
        Stands in the middle of a page without tiles.
    key : str
        What the page was made of; kept in the PNG's text.
    """
    n_rows = max(1, -(-len(table) // columns))
    width = 2 * _MARGIN + columns * (TILE + _GAP) - _GAP
    height = _HEADER + _MARGIN + n_rows * (TILE + _CAPTION + _GAP) - _GAP
    page = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 8), title, font=_font(18, bold=True), fill=_TEXT)
    draw.text((_MARGIN, 33), subtitle, font=_font(13), fill=_FAINT)
    if len(table) == 0:
        middle = (width // 2, (height + _HEADER) // 2)
        draw.text(middle, message, font=_font(20), fill=_TEXT, anchor="mm")
    else:
        images = np.asarray(images)
        # Cutouts have their first row in the south; a page has its first row at the top.
        rgb = colour_images(images, bands, stretch)[:, ::-1]
        pixel = TILE / images.shape[-1]
        # Whole pixels where they fit: nothing is invented, and the file is less than half as large.
        resampling = Image.Resampling.NEAREST if pixel % 1 == 0 else Image.Resampling.LANCZOS
        for i, row in enumerate(table.to_dict("records")):
            x = _MARGIN + i % columns * (TILE + _GAP)
            y = _HEADER + i // columns * (TILE + _CAPTION + _GAP)
            tile = Image.fromarray(np.ascontiguousarray(rgb[i]))
            page.paste(tile.resize((TILE, TILE), resampling), (x, y))
            _draw_marks(draw, x, y, _SCALE_BAR_ARCSEC / PIXEL_SCALE_ARCSEC * pixel)
            _draw_caption(draw, x, y + TILE + 2, row)
    info = PngInfo()
    info.add_text("lenspipe-key", key)
    with atomic(path) as temporary:
        page.save(temporary, format="PNG", compress_level=4, pnginfo=info)


@functools.cache
def _font(size, bold=False):
    """DejaVu, which matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)


def _draw_marks(draw, x, y, bar):
    """Scale bar at the lower left of a tile, arrows to North and East at the upper right."""
    left, bottom = x + 8, y + TILE - 9
    _draw_line(draw, (left, bottom, left + bar, bottom))
    text = {"font": _font(11), "fill": _MARKS, "stroke_width": 1, "stroke_fill": _SHADOW}
    draw.text((left + bar / 2, bottom - 4), f'{_SCALE_BAR_ARCSEC}"', anchor="mb", **text)
    right, top, arm = x + TILE - 10, y + 18, 15
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


def _draw_line(draw, ends):
    draw.line(ends, fill=_SHADOW, width=4)
    draw.line(ends, fill=_MARKS, width=2)


def _draw_caption(draw, x, y, row):
    rank = f"{row['rank']}"
    draw.text((x, y), rank, font=_font(13, bold=True), fill=_TEXT)
    after = x + draw.textlength(rank, font=_font(13, bold=True)) + 8
    p = _say_score(row["p"]) if "p" in row else ""
    draw.text((after, y), p, font=_font(13), fill=_TEXT)
    draw.text((x, y + 16), row["name"], font=_font(12), fill=_FAINT)
    note, font = row.get("note") or "", _font(12)
    room = x + TILE - after - draw.textlength(p, font=_font(13)) - 8
    while note and draw.textlength(note, font=font) > room:
        note = note[:-2].rstrip(" .,…") + "…" if len(note) > 2 else ""
    draw.text((x + TILE, y), note, font=font, fill=_NOTE, anchor="ra")


def _say_score(p):
    return "no score" if np.isnan(p) else f"p {_shorten(p)}"


def _shorten(p):
    """Four decimals, more where p is so near to 1 that they would hide the order."""
    if p < 0.99995:
        return f"{p:.4f}"
    return f"{p:.7f}".rstrip("0") if p < 1 else "1"


def read_images(settings, table):
    """Read the cutouts of some galaxies; each brick's file is read once.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    table : pandas.DataFrame
        Columns ``id`` and ``brick``.

    Returns
    -------
    numpy.ndarray, float32, shape (N, B, S, S)
        Nanomaggies, in the order of the table's rows.

    Raises
    ------
    LenspipeError
        A galaxy has no cutout.
    """
    size = settings.cutouts.size
    images = np.empty((len(table), len(settings.survey.bands), size, size), np.float32)
    rows = pd.Series(np.arange(len(table)), index=table["id"].to_numpy())
    for brick, group in table.groupby("brick"):
        path = settings.paths.cutouts(brick)
        if not path.exists():
            raise LenspipeError(
                f"{path}: found no such file, expected cutouts of {len(group)} galaxies; cut out "
                "this brick again"
            )
        cutouts, catalog = read_cutouts(path)
        places = pd.Index(catalog["id"]).get_indexer(group["id"])
        if (places < 0).any():
            raise LenspipeError(
                f"{path}: found no galaxy {group['id'].to_numpy()[places < 0][0]}, expected the "
                "galaxies that were scored; cut out and score this brick again"
            )
        if cutouts.shape[1:] != images.shape[1:]:
            raise LenspipeError(
                f"{path}: found cutouts of shape {cutouts.shape[1:]}, expected {images.shape[1:]} "
                "of config keys survey.bands and cutouts.size; cut out this brick again"
            )
        images[rows[group["id"]].to_numpy()] = cutouts[places]
    return images


def candidate_pages(settings):
    """Draw all candidates, best first, as ``mosaics/page-0001.png`` and so on.

    Pages of an earlier run are removed. ``mosaics/pages.json`` is written last: the pages' names
    and the number of candidates. Without candidates there is one page that says so.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    """
    index = settings.paths.mosaic_index
    index.unlink(missing_ok=True)
    table = read_candidates(settings)
    table["note"] = np.where(table["known"], "known lens", "")
    what, at = "lens candidates", f"candidates, {settings.candidates.threshold}"
    if settings.targets:
        what, at = "targets", "targets"
        notes = zip(table["note"], map(_flag_note, table["flags"]), strict=True)
        table["note"] = [", ".join(filter(None, both)) for both in notes]
    per_page = settings.mosaics.columns * settings.mosaics.rows
    n_pages = page_of_rank(max(len(table), 1), settings)
    pages = [settings.paths.mosaic_page(number) for number in range(1, n_pages + 1)]
    for path in index.parent.glob("page-*.png"):
        if path not in pages:
            path.unlink()
    # Neighbours in rank are not neighbours on the sky: several pages share one reading.
    batch = max(1, _BATCH // per_page) * per_page
    for number, path in enumerate(track(pages, "drawing pages"), 1):
        first = (number - 1) * per_page
        if first % batch == 0:
            images = read_images(settings, table.iloc[first : first + batch])
        rows = table.iloc[first : first + per_page]
        begin = first % batch
        draw_page(
            images[begin : begin + len(rows)],
            rows,
            path,
            bands=settings.survey.bands,
            stretch=settings.mosaics.stretch,
            columns=settings.mosaics.columns,
            title=f"{settings.run}: {what}, page {number} of {n_pages}",
            subtitle=f"{len(table)} {at}, most probable first; {_explain_tiles(settings)}",
            message=f"No galaxy passed the threshold, {settings.candidates.threshold}.",
        )
    with atomic(index) as temporary:
        content = {"n_candidates": len(table), "pages": [path.name for path in pages]}
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    log.info("mosaics: %d %s on %d pages in %s", len(table), what, n_pages, index.parent)


def brick_mosaics_of_chunk(settings, chunk):
    """Draw each brick of a chunk: its most probable galaxies, ranked; then the manifest.

    A page is left as it is where its scores, cutouts and settings are.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str
        Name of the chunk; its scores are read from ``scores/<chunk>.parquet``.
    """
    scores = dict(iter(pd.read_parquet(settings.paths.scores(chunk)).groupby("brick")))
    cutouts = read_manifest(settings.paths.manifest("cutouts", chunk))
    entries = {}
    for brick, _ in track(bricks_of_chunk(settings, chunk), f"mosaics of chunk {chunk}"):
        if cutouts.get(brick, {}).get("status") == "failed":
            settings.paths.brick_mosaic(brick).unlink(missing_ok=True)
            entries[brick] = cutouts[brick]
        else:
            entries[brick] = _draw_brick(settings, brick, scores.get(brick, pd.DataFrame()))
    write_manifest(settings.paths.manifest("mosaics", chunk), entries)


def brick_mosaic(settings, brick):
    """Draw one brick from ``scores/bricks/<brick>.parquet``, as its chunk would.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick : str
        Name of the brick.
    """
    chunk, _ = find_brick(settings, brick)
    entry = _draw_brick(settings, brick, pd.read_parquet(settings.paths.brick_scores(brick)))
    update_manifest(settings.paths.manifest("mosaics", chunk), {brick: entry})


def _draw_brick(settings, brick, scores):
    """Draw a brick's mosaic unless it is there already; returns the manifest's entry."""
    path, n_galaxies = settings.paths.brick_mosaic(brick), len(scores)
    if n_galaxies:
        scores = scores.sort_values(["p", "id"], ascending=[False, True], na_position="last")
    shown = scores.head(settings.mosaics.brick_tiles).reset_index(drop=True)
    content = "" if shown.empty else shown[["id", "p", "flags"]].to_csv(index=False)
    key = digest(
        VERSION,
        settings.run,
        brick,
        content,
        n_galaxies,
        _cutouts_hash(settings, brick),
        settings.mosaics,
        settings.survey.bands,
        settings.candidates.threshold,
    )
    entry = {"status": "done" if n_galaxies else "empty", "count": len(shown), "hash": key}
    if _key_of(path) == key:
        return entry
    if n_galaxies:
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = shown_names(shown, settings)
        shown["note"] = [_flag_note(flags) for flags in shown["flags"]]
    draw_page(
        read_images(settings, shown) if n_galaxies else (),
        shown,
        path,
        bands=settings.survey.bands,
        stretch=settings.mosaics.stretch,
        columns=settings.mosaics.columns,
        title=f"{settings.run}: brick {brick}",
        subtitle=f"{len(shown)} of {n_galaxies} {_explain_ranking(settings)}; "
        f"{_explain_tiles(settings)}",
        message="No galaxy of the parent sample in this brick.",
        key=key,
    )
    return entry


def _explain_ranking(settings):
    if settings.targets:
        return "targets, most probable first"
    return f"galaxies, most probable first; candidates: {settings.candidates.threshold}"


def _explain_tiles(settings):
    field = settings.cutouts.size * PIXEL_SCALE_ARCSEC
    return (
        f'{field:.0f}" a side, {"".join(settings.survey.bands)}, {settings.mosaics.stretch} stretch'
    )


def _flag_note(flags):
    return ", ".join(flag.name.lower().replace("_", " ") for flag in FLAGS if flags & flag)


def _cutouts_hash(settings, brick):
    """Hash of a brick's cutouts; empty where there are none."""
    path = settings.paths.cutouts(brick)
    return str(fitsio.read_header(path, "IMAGE")["LPHASH"]) if path.exists() else ""


def _key_of(path):
    """Key kept in a page; None without a page."""
    if not path.exists():
        return None
    with Image.open(path) as page:
        return page.info.get("lenspipe-key")
