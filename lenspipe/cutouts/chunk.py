"""Stages cutouts and discard: the cutouts of a chunk or of one brick, made or deleted."""

from typing import Any

from lenspipe.config.settings import Settings
from lenspipe.cutouts.brick import cut_brick
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.parent.select import parent_of_brick
from lenspipe.products.chunks import try_bricks
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
from lenspipe.utils.files import is_remote
from lenspipe.utils.progress import log

__all__ = ["cut_chunk", "cut_one", "discard_chunk"]

#: Number of bricks of a remote tree processed at a time: while one is cut, another is fetched.
BRICKS_AT_ONCE = 2


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

    with CutoutFiles.of(settings).open_stamps() as source:

        def cut(brick: str, region: str) -> dict[str, Any]:
            nonlocal count
            if error := failure_in(before.get(brick, {})):
                raise error
            path, rows = settings.paths.cutouts(brick), parent[parent.brick == brick]
            with fetched(tree):
                entry = cut_brick(path, source, brick, region, rows, settings.cutouts)
            count += entry["count"]
            # That of the catalogue, too.
            notes = [
                each["unchecked"] for each in (before.get(brick, {}), entry) if "unchecked" in each
            ]
            return entry | ({"unchecked": "; ".join(dict.fromkeys(notes))} if notes else {})

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
    with CutoutFiles.of(settings).open_stamps() as source:
        entry = cut_brick(path, source, brick, region, rows, settings.cutouts)
    update_manifest(settings.paths.manifest("cutouts", chunk), {brick: entry})
    log.info("brick %s: %d cutouts", brick, entry["count"])


def discard_chunk(settings: Settings, chunk: str) -> None:
    """Delete the cutouts of a chunk that is scored, and write the manifest ``discard``.

    `CutoutFiles` cuts them again.

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
