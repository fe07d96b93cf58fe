"""The parent sample: which galaxies are searched, and what each cut removes.

The sample is the same from each of the sources in config key ``survey.catalogs``: Tractor files
(`lenspipe.parent.tractor`), sweep files (`lenspipe.parent.sweeps`) or a TAP service
(`lenspipe.parent.tap`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lenspipe.catalogs.targets import read_targets
from lenspipe.config.data import Parent
from lenspipe.config.settings import Settings
from lenspipe.parent.cuts import Results, no_cuts
from lenspipe.parent.sweeps import select_from_sweeps, sweeps_of_bricks
from lenspipe.parent.tap import select_by_queries
from lenspipe.parent.targets import parent_of_targets, targets_of_brick
from lenspipe.parent.tractor import select_from_files
from lenspipe.products.manifests import failed_entries, read_manifests, write_manifest
from lenspipe.products.plan import bricks_of_chunk, read_plan
from lenspipe.products.tables import (
    add_audits,
    brick_table,
    empty_parent,
    read_table,
    write_table,
)
from lenspipe.retrieval.sources import open_source
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["merge_audits", "parent_of_brick", "parent_of_chunk"]


def parent_of_brick(
    settings: Settings, brick: str, region: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select the parent sample of one brick.

    Return the selected galaxies, sorted by objid, and the audit, as
    `lenspipe.parent.cuts.select_parent` does.

    Raises
    ------
    RetrievalError
        A server did not deliver the brick's catalogue.
    LenspipeError
        As in `lenspipe.survey.tractor.tractor_table`.
    """
    if settings.targets:
        targets = read_targets(settings.targets, settings.release.brick_deg)
        return targets_of_brick(settings.paths.plan, brick, targets, settings.survey.bands)
    results, failures, _ = _select(settings, brick, [(brick, region)])
    if failures:
        raise failures[brick]
    return results[brick]


def _select(
    settings: Settings, name: str, bricks: list[tuple[str, str]]
) -> tuple[Results, dict[str, LenspipeError], dict[str, str]]:
    """Select from the configured source; `name` is that of the chunk or of the only brick.

    Returns results, failures and, for bricks whose files should have been checked against
    published sums but were not, the reason.
    """
    survey, paths, retrieval = settings.survey, settings.survey_paths, settings.retrieval
    if survey.catalogs == "tap":
        selection = select_by_queries(
            bricks,
            brick_table(settings.paths.bricks, [brick for brick, _ in bricks])["brickid"],
            survey,
            paths.release,
            settings.parent,
            retrieval,
            folder=settings.paths.parent(name).parent / "tap" / name,
        )
        return *selection, {}
    sweeps = survey.sweeps if survey.catalogs == "sweeps" else None
    with open_source(retrieval, settings.paths.hosts, paths.tree, sweeps) as source:
        if survey.catalogs == "sweeps":
            positions = brick_table(settings.paths.bricks, [brick for brick, _ in bricks])
            files = sweeps_of_bricks(bricks, positions, paths, survey.sweeps)
            selection = select_from_sweeps(
                bricks, positions, source, paths, survey, settings.parent, name=name
            )
        else:
            files = {brick: [(paths.tractor(region, brick), region)] for brick, region in bricks}
            threads = retrieval.connections if is_remote(paths.tree) else 1
            selection = select_from_files(
                bricks, source, paths, survey.bands, settings.parent, name=name, threads=threads
            )
        if not retrieval.checksums:
            return *selection, {}
        reasons = {b: source.unchecked(path for path, _ in files[b]) for b in selection[0]}
    unchecked = {brick: reason for brick, reason in reasons.items() if reason}
    for brick, reason in unchecked.items():
        log.info("brick %s: catalogue not checked against published sums: %s", brick, reason)
    return *selection, unchecked


def parent_of_chunk(settings: Settings, chunk: str) -> None:
    """Write the parent sample of a chunk, what each cut removed, and the stage's manifest.

    A brick whose catalogue cannot be read or obtained is left out: the manifest ``parent`` gives
    the reason and, if a server did not deliver it, whether a later run may succeed.

    Raises
    ------
    LenspipeError
        With ``failures.strict``, if there are such bricks.
    """
    bands = settings.survey.bands
    if settings.targets:
        parent_of_targets(
            settings.paths, chunk, read_targets(settings.targets, settings.release.brick_deg), bands
        )
        return
    tables = [empty_parent(bands)]
    audit = no_cuts()
    bricks = bricks_of_chunk(settings.paths.plan, chunk)
    results, failures, unchecked = _select(settings, chunk, bricks)
    entries = failed_entries(failures, settings.failures.strict)
    for brick, (selected, brick_audit) in results.items():
        tables.append(selected)
        audit = add_audits(audit, brick_audit)
        status = "done" if len(selected) else "empty"
        count = len(selected)
        entries[brick] = {"status": status, "count": count, "hash": content_hash(selected)}
        if brick in unchecked:
            entries[brick]["unchecked"] = unchecked[brick]
    # Each is sorted by objid; empty tables would only affect the types.
    table = pd.concat([each for each in tables if len(each)] or tables, ignore_index=True)
    write_table(settings.paths.parent(chunk), table)
    write_table(settings.paths.parent_audit(chunk), audit)
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d galaxies of %d sources", chunk, len(table), audit.before.iloc[0])


def merge_audits(settings: Settings) -> None:
    """Add up what each cut removed in all chunks.

    Raises
    ------
    LenspipeError
        A chunk's audit is missing, or no galaxy is left.
    """
    total = no_cuts()
    if settings.targets:
        total = total.head(1).assign(cut="targets")
    chunks = read_plan(settings.paths.plan)
    for chunk in chunks:
        audit = read_table(settings.paths.parent_audit(chunk), "chunk_audit")
        audit["not_counted"] = audit["not_counted"].astype(object).fillna("")
        total = add_audits(total, audit)
    for row in total.itertuples():
        log.info(
            "cut %s: %d before, %d removed, %d left", row.cut, row.before, row.removed, row.after
        )
        if row.not_counted:
            log.info("cut %s: not counted: %s", row.cut, row.not_counted)
    if not total.after.iloc[-1]:
        entries = read_manifests(settings.paths.manifest("parent", chunk) for chunk in chunks)
        tree = settings.survey_paths.tree
        raise LenspipeError(_reason_for_empty_sample(total, entries, settings.parent, tree))
    write_table(settings.paths.audit, total)


def _reason_for_empty_sample(
    total: pd.DataFrame, entries: Mapping[str, Mapping[str, Any]], parent: Parent, tree: str | Path
) -> str:
    failed = {b: entry["reason"] for b, entry in entries.items() if entry["status"] == "failed"}
    if failed and len(failed) == len(entries):
        brick, reason = next(iter(failed.items()))
        return f"all {len(failed)} bricks of the footprint failed, the first is {brick}: {reason}"
    if not total.before.iloc[0]:
        return (
            f"{tree}: no sources in the catalogues of the footprint; choose "
            "another footprint or check config key survey.tree"
        )
    worst = total.loc[total.removed.idxmax()]
    advice = {
        "brick_primary": "the catalogues hold no primary objects; check config key survey.tree",
        "type": f"add to config key parent.types, now {list(parent.types)}",
        "sersic_min": f"lower config key parent.sersic_min, now {parent.sersic_min:g}",
        "mag_z_max": f"raise config key parent.mag_z_max, now {parent.mag_z_max:g}",
        "min_exposures": f"lower config key parent.min_exposures, now {parent.min_exposures}",
        "maskbits": f"remove bits from config key parent.maskbits, now {list(parent.maskbits)}",
        "valid": "positions or fluxes in the catalogues are not finite; download them again",
    }
    return (
        f"parent sample: no galaxy left of {total.before.iloc[0]} sources; the cut {worst.cut} "
        f"removed most ({worst.removed} of {worst.before}): {advice[worst.cut]}"
    )
