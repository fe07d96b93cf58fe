"""Mosaics for visual inspection: pages of all candidates, and of each brick's galaxies."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.catalogs.names import shown_names
from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Mosaics
from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page, page_key
from lenspipe.products.candidates import model_note, page_order, read_candidates
from lenspipe.products.cutouts import read_header
from lenspipe.products.files import write_json
from lenspipe.products.manifests import read_manifest, update_manifest, write_manifest
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.utils.progress import log, track

__all__ = ["draw_brick_mosaic", "draw_candidate_pages", "draw_chunk_mosaics"]

# Images held in memory at once: ~120 MB at 101 pixels and three bands.
_BATCH = 1000


def draw_candidate_pages(settings: Settings) -> None:
    """Draw all candidates as ``mosaics/page-0001.png`` and so on, in the order of ``mosaics.sort``.

    A page is kept if its candidates, cutouts and settings are unchanged; surplus pages of an
    earlier run are removed. ``mosaics/pages.json`` is written last: the pages' names and the
    number of candidates. Without candidates there is one page that says so.
    """
    index, mosaics = settings.paths.mosaic_index, settings.mosaics
    index.unlink(missing_ok=True)
    table = read_candidates(settings.paths.candidates)
    order = page_order(table, mosaics, settings.survey.bands)
    table = table.iloc[order].reset_index(drop=True)
    table["note"] = np.where(table["known"], "known lens", "")
    note = model_note(table)
    noun, selection = "lens candidates", f"candidates, {settings.candidates.threshold}"
    by_rank = "most probable first" if table["p"].notna().any() else "in the order of the list"
    if table["p"].isna().all():
        # Its tiles would all say that there is no score.
        table = table.drop(columns="p")
    in_order = _ORDERS.get(mosaics.sort, by_rank)
    if settings.targets:
        noun, selection = "targets", "targets"
    n_pages = max(1, -(-len(table) // mosaics.per_page))
    pages = [settings.paths.mosaic_page(number) for number in range(1, n_pages + 1)]
    for path in index.parent.glob("page-*.png"):
        if path not in pages:
            path.unlink()
    cutouts = CutoutFiles.of(settings)
    tiles = _describe_tiles(cutouts, mosaics)
    hashes = table["brick"].map(_cutouts_hashes(settings.paths))
    outdated = {}
    for number, path in enumerate(pages):
        shown = slice(number * mosaics.per_page, (number + 1) * mosaics.per_page)
        rows = table.iloc[shown].to_csv(index=False)
        content = settings.run, rows, list(hashes.iloc[shown]), len(table)
        key = content_key("mosaics", settings, *content)
        if page_key(path) != key:
            outdated[path] = shown, key
    # Cutouts of several pages are read at once, as candidates of one brick have different ranks.
    batch = max(1, _BATCH // mosaics.per_page)
    for place, (path, (shown, key)) in enumerate(track(list(outdated.items()), "drawing pages")):
        if place % batch == 0:
            slices = [part for part, _ in list(outdated.values())[place : place + batch]]
            rows = pd.concat([table.iloc[part] for part in slices])
            images, catalog = cutouts.read(rows)
            first = 0
        rows = table.iloc[shown]
        draw_page(
            images[first : first + len(rows)],
            _with_catalog(rows, catalog.iloc[first : first + len(rows)]),
            path,
            **_layout(cutouts, mosaics),
            title=f"{settings.run}: {noun}, page {pages.index(path) + 1} of {n_pages}",
            subtitle=f"{len(table)} {selection}, {in_order}; {tiles}",
            note=note,
            message=f"No galaxy passed the threshold, {settings.candidates.threshold}.",
            key=key,
        )
        first += len(rows)
    write_json(index, {"n_candidates": len(table), "pages": [path.name for path in pages]})
    log.info(
        "mosaics: %d %s on %d pages in %s, %d of them drawn",
        len(table), noun, n_pages, index.parent, len(outdated),
    )  # fmt: skip


_ORDERS = {"mag": "brightest first", "name": "by name"}


def _with_catalog(rows: pd.DataFrame, catalog: pd.DataFrame) -> pd.DataFrame:
    """Add columns that only the cutouts' catalogue has, such as magnitudes and shapes."""
    more = catalog[catalog.columns.difference(rows.columns)]
    return rows.assign(**{name: values.to_numpy() for name, values in more.items()})


def _layout(cutouts: CutoutFiles, mosaics: Mosaics) -> dict[str, Any]:
    """Arguments of `draw_page` that are common to all pages."""
    return {
        "bands": cutouts.bands,
        "pixel_scale_arcsec": cutouts.release.pixel_scale_arcsec,
        "stretch": mosaics.stretch,
        "panels": mosaics.panels,
        "columns": mosaics.per_row,
    }


def draw_chunk_mosaics(settings: Settings, chunk: str) -> None:
    """Draw the most probable galaxies of each brick of a chunk, ranked; then write the manifest.

    A page is kept if its scores, cutouts and settings are unchanged. Scores are read from
    ``scores/<chunk>.parquet``.
    """
    scores = dict(iter(read_table(settings.paths.scores(chunk), "scores").groupby("brick")))
    cutouts = read_manifest(settings.paths.manifest("cutouts", chunk))
    entries = {}
    for brick, _ in track(bricks_of_chunk(settings.paths.plan, chunk), f"mosaics of chunk {chunk}"):
        if cutouts.get(brick, {}).get("status") == "failed":
            settings.paths.brick_mosaic(brick).unlink(missing_ok=True)
            entries[brick] = cutouts[brick]
        else:
            content = cutouts.get(brick, {}).get("hash", "")
            entries[brick] = _draw_brick(
                settings, brick, scores.get(brick, pd.DataFrame()), content
            )
    write_manifest(settings.paths.manifest("mosaics", chunk), entries)


def draw_brick_mosaic(settings: Settings, brick: str) -> None:
    """Draw one brick from ``scores/bricks/<brick>.parquet``, as `draw_chunk_mosaics` does."""
    chunk, _ = find_brick(settings.paths.plan, brick)
    scores = read_table(settings.paths.brick_scores(brick), "brick_scores")
    entry = _draw_brick(settings, brick, scores)
    update_manifest(settings.paths.manifest("mosaics", chunk), {brick: entry})


def _draw_brick(
    settings: Settings, brick: str, scores: pd.DataFrame, deleted: str = ""
) -> dict[str, Any]:
    """Draw a brick's mosaic unless it is up to date, and return the entry of the manifest.

    `deleted` is the hash of the brick's cutouts if their file has been deleted.
    """
    path, n_galaxies = settings.paths.brick_mosaic(brick), len(scores)
    cutouts = CutoutFiles.of(settings)
    if n_galaxies:
        scores = scores.sort_values(["p", "id"], ascending=[False, True], na_position="last")
    shown = scores.head(settings.mosaics.brick_tiles).reset_index(drop=True)
    # Rounded, as the backend that scores single bricks may differ from that of chunks.
    content = shown[["id", "p", "flags"]].round({"p": 3}).to_csv(index=False) if n_galaxies else ""
    pixels = _cutouts_hash(settings.paths.cutouts(brick)) or deleted
    note = model_note(scores)
    made_from = (settings.run, brick, content, n_galaxies, pixels, *([note] if note else []))
    key = content_key("chunk_mosaics", settings, *made_from)
    entry = {"status": "done" if n_galaxies else "empty", "count": len(shown), "hash": key}
    if page_key(path) == key:
        return entry
    if n_galaxies:
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = shown_names(shown, settings.targets, settings.release)
        images, catalog = cutouts.read(shown)
        shown = _with_catalog(shown, catalog)
    in_order = "most probable first"
    if n_galaxies and shown["p"].isna().all():
        shown, in_order = shown.drop(columns="p"), "by name"
    draw_page(
        images if n_galaxies else (),
        shown,
        path,
        **_layout(cutouts, settings.mosaics),
        title=f"{settings.run}: brick {brick}",
        subtitle=f"{len(shown)} of {n_galaxies} {'targets' if settings.targets else 'galaxies'}, "
        f"{in_order}; {_describe_tiles(cutouts, settings.mosaics)}",
        note=note,
        message="No galaxy of the parent sample in this brick.",
        key=key,
    )
    return entry


def _describe_tiles(cutouts: CutoutFiles, mosaics: Mosaics) -> str:
    bands = "".join(cutouts.bands)
    return f'{cutouts.side_arcsec:.0f}" a side, {bands}, {mosaics.stretch} stretch'


def _cutouts_hash(path: Path) -> str:
    """Hash of a file of cutouts; empty where there is none."""
    return str(read_header(path)["LPHASH"]) if path.exists() else ""


def _cutouts_hashes(paths: RunPaths) -> dict[str, str]:
    """Hash of each brick's cutouts, from the manifests of the chunks."""
    return {
        brick: entry["hash"]
        for chunk in chunks_of(paths.bricks)
        for brick, entry in read_manifest(paths.manifest("cutouts", chunk)).items()
    }
