"""Mosaics for inspection: pages of all candidates, and one of each brick's galaxies."""

import json

import fitsio
import numpy as np
import pandas as pd

from lenspipe.catalogs.names import shown_names
from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.cutouts.reading import read_galaxies
from lenspipe.plotting.galaxy_pages import draw_page, key_of
from lenspipe.products.candidates import page_order, read_candidates
from lenspipe.products.manifests import read_manifest, update_manifest, write_manifest
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.utils.files import atomic
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log, track

__all__ = ["brick_mosaic", "brick_mosaics_of_chunk", "candidate_pages"]

#: Version of the drawing; change it when pages should be drawn anew.
VERSION = 2

# Images held in memory while candidates are drawn: ~120 MB at 101 pixels and three bands.
_BATCH = 1000


def candidate_pages(settings):
    """Draw all candidates as ``mosaics/page-0001.png`` and so on, in the order of ``mosaics.sort``.

    A page is left as it is where its candidates, cutouts and settings are; those of an earlier run
    that are too many are removed. ``mosaics/pages.json`` is written last: the pages' names and the
    number of candidates. Without candidates there is one page that says so.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    """
    index, own = settings.paths.mosaic_index, settings.mosaics
    index.unlink(missing_ok=True)
    table = read_candidates(settings.paths.candidates)
    order = page_order(table, settings.mosaics, settings.survey.bands)
    table = table.iloc[order].reset_index(drop=True)
    table["note"] = np.where(table["known"], "known lens", "")
    what, at = "lens candidates", f"candidates, {settings.candidates.threshold}"
    if settings.targets:
        what, at = "targets", "targets"
    n_pages = max(1, -(-len(table) // own.per_page))
    pages = [settings.paths.mosaic_page(number) for number in range(1, n_pages + 1)]
    for path in index.parent.glob("page-*.png"):
        if path not in pages:
            path.unlink()
    hashes = table["brick"].map(_cutouts_hashes(settings))
    todo = {}
    for number, path in enumerate(pages):
        shown = slice(number * own.per_page, (number + 1) * own.per_page)
        key = digest(
            VERSION,
            settings.run,
            table.iloc[shown].to_csv(index=False),
            list(hashes.iloc[shown]),
            len(table),
            own,
            settings.survey.bands,
            settings.candidates.threshold,
        )
        if key_of(path) != key:
            todo[path] = shown, key
    # Neighbours in rank are not neighbours on the sky: several pages share one reading.
    batch = max(1, _BATCH // own.per_page)
    for place, (path, (shown, key)) in enumerate(track(list(todo.items()), "drawing pages")):
        if place % batch == 0:
            parts = [part for part, _ in list(todo.values())[place : place + batch]]
            rows = pd.concat([table.iloc[part] for part in parts])
            images, catalog = read_galaxies(settings, rows)
            first = 0
        rows = table.iloc[shown]
        draw_page(
            images[first : first + len(rows)],
            _with_facts(rows, catalog.iloc[first : first + len(rows)]),
            path,
            **_look(settings),
            title=f"{settings.run}: {what}, page {pages.index(path) + 1} of {n_pages}",
            subtitle=f"{len(table)} {at}, {_ORDERS[own.sort]}; {_explain_tiles(settings)}",
            message=f"No galaxy passed the threshold, {settings.candidates.threshold}.",
            key=key,
        )
        first += len(rows)
    with atomic(index) as temporary:
        content = {"n_candidates": len(table), "pages": [path.name for path in pages]}
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    log.info(
        "mosaics: %d %s on %d pages in %s, %d of them drawn",
        len(table), what, n_pages, index.parent, len(todo),
    )  # fmt: skip


_ORDERS = {"p": "most probable first", "mag": "brightest first", "name": "by name"}


def _with_facts(rows, catalog):
    """Rows with what only the cutouts' catalogue has of them, such as magnitudes and shapes."""
    more = catalog[catalog.columns.difference(rows.columns)]
    return rows.assign(**{name: values.to_numpy() for name, values in more.items()})


def _look(settings):
    """What all pages have in common."""
    own = settings.mosaics
    return {
        "bands": settings.survey.bands,
        "stretch": own.stretch,
        "panels": own.panels,
        "columns": own.per_row,
    }


def brick_mosaics_of_chunk(settings, chunk):
    """Draw each brick of a chunk: its most probable galaxies, ranked; then the manifest.

    A page is left as it is where its scores, cutouts and settings are.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunk : str
        Name of the chunk; its scores are read from ``scores/<chunk>.parquet``.
    """
    scores = dict(iter(pd.read_parquet(settings.paths.scores(chunk)).groupby("brick")))
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


def brick_mosaic(settings, brick):
    """Draw one brick from ``scores/bricks/<brick>.parquet``, as its chunk would.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick : str
        Name of the brick.
    """
    chunk, _ = find_brick(settings.paths.plan, brick)
    entry = _draw_brick(settings, brick, pd.read_parquet(settings.paths.brick_scores(brick)))
    update_manifest(settings.paths.manifest("mosaics", chunk), {brick: entry})


def _draw_brick(settings, brick, scores, deleted=""):
    """Draw a brick's mosaic unless it is there already; returns the manifest's entry.

    `deleted` is the hash of the brick's cutouts where their file is gone.
    """
    path, n_galaxies = settings.paths.brick_mosaic(brick), len(scores)
    if n_galaxies:
        scores = scores.sort_values(["p", "id"], ascending=[False, True], na_position="last")
    shown = scores.head(settings.mosaics.brick_tiles).reset_index(drop=True)
    # A brick by itself may be scored by another backend than its chunk: no reason to draw it anew.
    content = shown[["id", "p", "flags"]].round({"p": 3}).to_csv(index=False) if n_galaxies else ""
    key = digest(
        VERSION,
        settings.run,
        brick,
        content,
        n_galaxies,
        _cutouts_hash(settings, brick) or deleted,
        settings.mosaics,
        settings.survey.bands,
        settings.candidates.threshold,
    )
    entry = {"status": "done" if n_galaxies else "empty", "count": len(shown), "hash": key}
    if key_of(path) == key:
        return entry
    if n_galaxies:
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = shown_names(shown, settings.targets)
        images, catalog = read_galaxies(settings, shown)
        shown = _with_facts(shown, catalog)
    draw_page(
        images if n_galaxies else (),
        shown,
        path,
        **_look(settings),
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


def _cutouts_hash(settings, brick):
    """Hash of a brick's cutouts; empty where there are none."""
    path = settings.paths.cutouts(brick)
    return str(fitsio.read_header(path, "IMAGE")["LPHASH"]) if path.exists() else ""


def _cutouts_hashes(settings):
    """Hash of each brick's cutouts, as the manifests of the chunks have it."""
    chunks = sorted(pd.read_parquet(settings.paths.bricks, columns=["chunk"])["chunk"].unique())
    return {
        brick: entry["hash"]
        for chunk in chunks
        for brick, entry in read_manifest(settings.paths.manifest("cutouts", chunk)).items()
    }
