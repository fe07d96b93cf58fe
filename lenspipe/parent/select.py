"""The parent sample: which galaxies to look at, and why not the others.

The same sample comes from each of the sources in config key ``survey.catalogs``: Tractor files
(here), sweep files (`lenspipe.parent.sweeps`) or a TAP service (`lenspipe.parent.tap`).
"""

import pandas as pd

from lenspipe.parent.cuts import no_cuts
from lenspipe.parent.sweeps import select_from_sweeps
from lenspipe.parent.tap import select_by_queries
from lenspipe.parent.targets import parent_of_targets, targets_of_brick
from lenspipe.parent.tractor import select_from_files
from lenspipe.products.manifests import failed_entries, read_manifests, write_manifest
from lenspipe.products.parent import empty_parent
from lenspipe.products.plan import bricks_of_chunk, read_plan
from lenspipe.products.tables import read_table, write_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["merge_audits", "parent_of_brick", "parent_of_chunk"]


def parent_of_brick(settings, brick, region):
    """Select the parent sample of one brick.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick, region : str

    Returns
    -------
    selected, audit : pandas.DataFrame
        As of `select_parent`; sorted by objid.

    Raises
    ------
    RetrievalError
        A server did not give the brick's catalogue.
    LenspipeError
        As in `lenspipe.survey.tractor.tractor_table`.
    """
    if settings.targets:
        return targets_of_brick(settings, brick)
    results, failures = _select(settings, brick, [(brick, region)])
    if failures:
        raise failures[brick]
    return results[brick]


def _select(settings, name, bricks):
    """Select from the configured source; `name` is that of the chunk or of the only brick.

    Each source is a function of these arguments that returns, as `try_bricks` does, brick ->
    (selected, audit) and brick -> LenspipeError.
    """
    select = {
        "tap": select_by_queries,
        "sweeps": select_from_sweeps,
        "tractor": select_from_files,
    }[settings.survey.catalogs]
    return select(settings, name, bricks)


def parent_of_chunk(settings, chunk):
    """Write the parent sample of a chunk, what each cut removed, and the stage's manifest.

    A brick whose catalogue can't be read or had is left out: the manifest ``parent`` says why and,
    where a server did not give it, whether a later run may fare better.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        With ``failures.strict``, if there are such bricks.
    """
    if settings.targets:
        return parent_of_targets(settings, chunk)
    tables = [empty_parent(settings.survey.bands)]
    audit = no_cuts()
    results, failures = _select(settings, chunk, bricks_of_chunk(settings.paths.plan, chunk))
    entries = failed_entries(failures, settings.failures.strict)
    for brick, (selected, removed) in results.items():
        tables.append(selected)
        audit.iloc[:, 1:] += removed.iloc[:, 1:]
        status = "done" if len(selected) else "empty"
        count = len(selected)
        entries[brick] = {"status": status, "count": count, "hash": content_hash(selected)}
    # Each is sorted by objid already; an empty table among others only takes part in the types.
    table = pd.concat([part for part in tables if len(part)] or tables, ignore_index=True)
    write_table(settings.paths.parent(chunk), table)
    write_table(settings.paths.parent_audit(chunk), audit)
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d galaxies of %d sources", chunk, len(table), audit.before.iloc[0])


def merge_audits(settings):
    """Add up what each cut removed in all chunks.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Raises
    ------
    LenspipeError
        A chunk's audit is missing, or no galaxy is left.
    """
    total = no_cuts()
    if settings.targets:
        total = total.head(1).assign(cut="targets")
    for chunk in read_plan(settings.paths.plan):
        audit = read_table(settings.paths.parent_audit(chunk), "chunk_audit")
        total.iloc[:, 1:] += audit.iloc[:, 1:]
    for row in total.itertuples():
        log.info(
            "cut %s: %d before, %d removed, %d left", row.cut, row.before, row.removed, row.after
        )
    if not total.after.iloc[-1]:
        raise LenspipeError(_why_nothing(settings, total))
    write_table(settings.paths.audit, total)


def _why_nothing(settings, total):
    chunks = read_plan(settings.paths.plan)
    entries = read_manifests(settings.paths.manifest("parent", chunk) for chunk in chunks)
    failed = {b: entry["reason"] for b, entry in entries.items() if entry["status"] == "failed"}
    if failed and len(failed) == len(entries):
        brick, reason = next(iter(failed.items()))
        return f"all {len(failed)} bricks of the footprint failed, the first is {brick}: {reason}"
    if not total.before.iloc[0]:
        return (
            f"{settings.survey_paths.tree}: no sources in the catalogues of the footprint; choose "
            "another footprint or check config key survey.tree"
        )
    worst = total.loc[total.removed.idxmax()]
    advice = {
        "brick_primary": "the catalogues hold no primary objects; check config key survey.tree",
        "type": f"add to config key parent.types, now {list(settings.parent.types)}",
        "sersic_min": f"lower config key parent.sersic_min, now {settings.parent.sersic_min:g}",
        "mag_z_max": f"raise config key parent.mag_z_max, now {settings.parent.mag_z_max:g}",
        "min_exposures": "lower config key parent.min_exposures, now "
        f"{settings.parent.min_exposures}",
        "maskbits": f"take from config key parent.maskbits, now {list(settings.parent.maskbits)}",
    }
    return (
        f"parent sample: no galaxy left of {total.before.iloc[0]} sources; the cut {worst.cut} "
        f"removed most ({worst.removed} of {worst.before}): {advice[worst.cut]}"
    )
