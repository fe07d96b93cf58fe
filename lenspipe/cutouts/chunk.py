"""Cutouts: stamps around the galaxies of the parent sample, cut from the survey's coadds.

A file holds the cutouts of a brick and their catalogue, row by row. Its header carries a hash of
what its pixels were made from, so that a brick that is done is not cut again.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits

import lenspipe
from lenspipe.config.data import Cutouts
from lenspipe.config.flags import FLAGS
from lenspipe.config.settings import Settings
from lenspipe.config.stages import STAGES
from lenspipe.cutouts.stamps import CoaddStamps, ServiceStamps, StampSource, flag_stamps
from lenspipe.parent.select import parent_of_brick
from lenspipe.products.chunks import try_bricks
from lenspipe.products.cutouts import read_catalog, read_cutouts, read_header, write_cutouts
from lenspipe.products.files import require
from lenspipe.products.manifests import (
    failed_entries,
    failure_in,
    read_manifest,
    update_manifest,
    write_manifest,
)
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.products.tables import read_table
from lenspipe.retrieval.errors import fetched
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.service import CutoutService
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["cut_brick", "cut_chunk", "cut_one", "cutouts_at", "discard_chunk"]

#: Number of bricks of a remote tree processed at a time: while one is cut, another is fetched.
BRICKS_AT_ONCE = 2


def cut_brick(
    path: Path,
    source: StampSource,
    brick: str,
    region: str,
    parent: pd.DataFrame,
    cutouts: Cutouts,
) -> dict[str, Any]:
    """Cut the stamps of a brick and write them, unless there is a file made from the same input.

    A stamp is centred on the pixel whose centre is nearest to the galaxy. If only other columns of
    the parent sample have changed, a file keeps its pixels and gets a new catalogue.

    Parameters
    ----------
    path
        Of the cutouts.
    parent
        The brick's rows of the parent sample.

    Returns
    -------
    dict
        Entry of the manifest: status ('done', or 'empty' without galaxies), count, hash (of pixels
        and catalogue); if the brick lacks bands, missing_bands; and if coadds should have been
        checked against published sums but were not, unchecked.

    Raises
    ------
    LenspipeError
        The brick's coadds are missing, truncated or garbled.
    RetrievalError
        A server did not deliver them.
    """
    bands, release = source.bands, source.release
    key = _key(source, brick, region, parent, cutouts)
    header, existing = _read_existing(path, key)
    if header is None or existing is None:
        stamps = source.read(brick, region, parent)
        images, flags = stamps.images, flag_stamps(stamps, cutouts.max_masked_fraction)
        lacking = stamps.present.any(axis=0) < (len(parent) > 0)
        missing = "".join(np.array(bands)[lacking])
        unchecked = source.unchecked(brick, region)
        _log_problems(brick, flags, missing, unchecked)
    else:
        missing, unchecked = header["MISSING"].strip(), header.get("NOSUMS", "").strip()
        if content_hash(existing.drop(columns="flags")) == content_hash(parent):
            return _entry(len(parent), header["LPHASH"], missing, unchecked)
        images, flags = read_cutouts(path)[0], existing["flags"]
        log.info("brick %s: kept the pixels, the parent sample has other columns", brick)
    catalog = parent.reset_index(drop=True).assign(flags=flags)
    sha256 = hashlib.sha256(images.tobytes() + content_hash(catalog).encode())
    content = sha256.hexdigest()[:16]
    header = fits.Header()
    header["BANDS"] = ("".join(bands), "bands, in order of the third axis")
    header["MISSING"] = (missing, "bands without coadd in this brick")
    header["BUNIT"] = ("nanomaggy", f"AB mag = {release.zero_point_mag} - 2.5 log10(nanomaggy)")
    header["PIXSCALE"] = (release.pixel_scale_arcsec, "[arcsec]")
    header["RELEASE"] = (release.name, "data release")
    header["BRICKNAM"] = (brick, "brick")
    header["REGION"] = (region, "region")
    header["LPKEY"] = (key, "hash of what this file was made from")
    header["LPHASH"] = (content, "hash of pixels and catalogue")
    header["LPVERS"] = (lenspipe.__version__, "version of lenspipe")
    if unchecked:
        header["NOSUMS"] = unchecked
    write_cutouts(path, images, catalog, header)
    return _entry(len(parent), content, missing, unchecked)


@contextlib.contextmanager
def _open_stamps(settings: Settings) -> Iterator[StampSource]:
    """Open the configured source of stamps."""
    bands, size, retrieval = settings.survey.bands, settings.cutouts.size, settings.retrieval
    if settings.cutouts.source == "service":
        address, release = settings.survey.service, settings.release
        yield ServiceStamps(CutoutService(address, release, bands, size, retrieval))
        return
    paths = settings.survey_paths
    with open_source(retrieval, settings.paths.hosts, paths.tree) as source:
        yield CoaddStamps(source, paths, bands, size)


def cut_chunk(settings: Settings, chunk: str) -> None:
    """Cut all bricks of a chunk and write the manifest ``cutouts``.

    Bricks that are done are skipped, and the failure of one does not affect the others.

    Raises
    ------
    LenspipeError
        With ``failures.strict``, at the end, if there are bricks that cannot be read or obtained;
        otherwise the manifest says 'failed' and why. No cutouts of such a brick remain.
    """
    parent = read_table(settings.paths.parent(chunk), "parent")
    before = read_manifest(settings.paths.manifest("parent", chunk))
    bricks = bricks_of_chunk(settings.paths.plan, chunk)
    tree, count = settings.survey_paths.tree, 0

    with _open_stamps(settings) as source:

        def cut(brick: str, region: str) -> dict[str, Any]:
            nonlocal count
            if error := failure_in(before.get(brick, {})):
                raise error
            path, rows = settings.paths.cutouts(brick), parent[parent.brick == brick]
            with fetched(tree):
                entry = cut_brick(path, source, brick, region, rows, settings.cutouts)
            count += entry["count"]
            return entry

        entries, failures = try_bricks(
            bricks,
            cut,
            f"cutouts of chunk {chunk}, bricks",
            threads=BRICKS_AT_ONCE if is_remote(tree) else 1,
            status=lambda: f"{count} stamps{source.traffic()}",
        )
    for brick in failures:
        settings.paths.cutouts(brick).unlink(missing_ok=True)
    entries |= failed_entries(failures, settings.failures.strict)
    write_manifest(settings.paths.manifest("cutouts", chunk), entries)
    log.info("chunk %s: %d cutouts of %d bricks", chunk, count, len(bricks) - len(failures))


def cut_one(settings: Settings, brick: str) -> None:
    """Cut one brick, straight from the survey, and note it in its chunk's manifest if there is one.

    Raises
    ------
    LenspipeError
        The brick is not in the footprint, or its files cannot be read.
    """
    chunk, region = find_brick(settings.paths.plan, brick)
    rows, _ = parent_of_brick(settings, brick, region)
    path = settings.paths.cutouts(brick)
    with _open_stamps(settings) as source:
        entry = cut_brick(path, source, brick, region, rows, settings.cutouts)
    update_manifest(settings.paths.manifest("cutouts", chunk), {brick: entry})
    log.info("brick %s: %d cutouts", brick, entry["count"])


def discard_chunk(settings: Settings, chunk: str) -> None:
    """Delete the cutouts of a chunk that is scored, and write the manifest ``discard``.

    `cutouts_at` cuts them again.

    Raises
    ------
    LenspipeError
        The chunk has no scores.
    """
    require(settings.paths.scores(chunk), "scores")
    entries = read_manifest(settings.paths.manifest("cutouts", chunk))
    manifest = settings.paths.manifest("discard", chunk)
    # Its folder shows that cutouts have been deleted, even if this job does not end.
    manifest.parent.mkdir(parents=True, exist_ok=True)
    for brick in entries:
        settings.paths.cutouts(brick).unlink(missing_ok=True)
    deleted = {b: entry | {"status": "deleted"} for b, entry in entries.items() if entry["hash"]}
    write_manifest(manifest, deleted)
    log.info("chunk %s: deleted the cutouts of %d bricks", chunk, len(deleted))


def cutouts_at(settings: Settings, brick: str) -> Path:
    """Return the path of a brick's cutouts; if they were deleted after scoring, cut them again.

    There is no such file if the brick never had cutouts, or if they were deleted by hand.

    Raises
    ------
    LenspipeError
        As in `cut_brick`.
    """
    paths = settings.paths
    path = paths.cutouts(brick)
    if path.exists() or not paths.manifest("discard", "").parent.exists():
        return path
    chunk, region = find_brick(settings.paths.plan, brick)
    manifest = paths.manifest("cutouts", chunk)
    if read_manifest(manifest).get(brick, {}).get("status") not in ("done", "empty"):
        return path
    parent = read_table(paths.parent(chunk), "parent", filters=[("brick", "==", brick)])
    with _open_stamps(settings) as source:
        entry = cut_brick(path, source, brick, region, parent, settings.cutouts)
    update_manifest(manifest, {brick: entry})
    log.info("brick %s: %d cutouts, deleted after scoring, cut again", brick, entry["count"])
    return path


def _key(
    source: StampSource, brick: str, region: str, parent: pd.DataFrame, cutouts: Cutouts
) -> str:
    """Hash everything on which pixels and flags depend, and which galaxy is in which row.

    Other columns of the parent sample are left out, so that a new one does not require new cutouts.
    """
    return digest(
        "cutouts",
        STAGES["cutouts"].version,
        source.bands,
        source.release.name,
        region,
        cutouts,
        content_hash(parent[["id", "ra", "dec"]]),
        source.key(brick, region),
    )


def _read_existing(
    path: Path, key: str
) -> tuple[Mapping[str, Any], pd.DataFrame] | tuple[None, None]:
    """Read header and catalogue of a file that has the key; None if there is no such file."""
    if not path.exists():
        return None, None
    try:
        header = read_header(path)
        if header.get("LPKEY") == key:
            return header, read_catalog(path)
    except LenspipeError as error:
        log.info("cutting again: %s", error)
    return None, None


def _entry(count: int, content: str, missing: str, unchecked: str) -> dict[str, Any]:
    entry = {"status": "done" if count else "empty", "count": count, "hash": content}
    entry |= {"missing_bands": missing} if missing else {}
    return entry | ({"unchecked": unchecked} if unchecked else {})


def _log_problems(brick: str, flags: np.ndarray, missing: str, unchecked: str) -> None:
    if unchecked:
        log.info("brick %s: coadds not checked against published sums: %s", brick, unchecked)
    if missing:
        log.info("brick %s: no coadd in band %s", brick, ", ".join(missing))
    if number := np.count_nonzero(flags & int(FLAGS.NONFINITE)):
        log.info("brick %s: non-finite pixels in %d of %d cutouts", brick, number, len(flags))
