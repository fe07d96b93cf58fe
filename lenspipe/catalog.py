"""The parent sample: which galaxies to look at, and why not the others.

The same sample comes from each of the sources in config key ``survey.catalogs``: Tractor files
(here), sweep files (`lenspipe.sweeps`) or a TAP service (`lenspipe.queries`).
"""

import hashlib

import pandas as pd

from lenspipe.bricks import bricks_of_chunk, load_plan
from lenspipe.chunkwork import failed_entries, fetched, try_bricks
from lenspipe.coadds import read_table
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest, write_manifest
from lenspipe.paths import atomic, is_remote
from lenspipe.progress import log
from lenspipe.retrieval import open_source
from lenspipe.survey import MASKBITS
from lenspipe.tractor import (
    catalog_columns,
    no_rows,
    parent_columns,
    read_tractor,
    tractor_table,
)

__all__ = [
    "CUTS",
    "content_hash",
    "merge_audits",
    "no_cuts",
    "parent_columns",
    "parent_of_brick",
    "parent_of_chunk",
    "read_tractor",
    "select_parent",
    "tractor_of_brick",
]


def _has_exposures(table, parent):
    nobs = table[[name for name in table.columns if name.startswith("nobs_")]]
    return (nobs >= parent.min_exposures).all(axis=1)


def _is_unmasked(table, parent):
    mask = sum(1 << MASKBITS[name] for name in parent.maskbits)
    return (table.maskbits & mask) == 0


#: The cuts in order: name -> function (table, `lenspipe.config.Parent`) -> rows that pass.
CUTS = {
    "brick_primary": lambda table, parent: table.brick_primary,
    "type": lambda table, parent: table.type.isin(parent.types),
    "sersic_min": lambda table, parent: (
        ~(table.type == "SER") | (table.sersic >= parent.sersic_min)
    ),
    "mag_z_max": lambda table, parent: table.mag_z <= parent.mag_z_max,
    "min_exposures": _has_exposures,
    "maskbits": _is_unmasked,
}


def select_parent(table, parent):
    """Apply the cuts of the parent sample, one after the other.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `read_tractor`.
    parent : lenspipe.config.Parent
        Its section of the settings.

    Returns
    -------
    selected : pandas.DataFrame
        The rows that pass, without ``brick_primary``.
    audit : pandas.DataFrame
        One row per cut in order: cut (str), before, after, removed (int64).
    """
    rows = []
    for cut, passes in CUTS.items():
        before = len(table)
        table = table[passes(table, parent)]
        rows.append((cut, before, len(table), before - len(table)))
    audit = pd.DataFrame(rows, columns=["cut", "before", "after", "removed"])
    return table.drop(columns="brick_primary"), audit


def no_cuts():
    """Return the audit of no source.

    Returns
    -------
    pandas.DataFrame
        As of `select_parent`; to add others to.
    """
    return pd.DataFrame({"cut": list(CUTS), "before": 0, "after": 0, "removed": 0})


def content_hash(table):
    """Hash a table's names and values.

    Parameters
    ----------
    table : pandas.DataFrame
        Of numbers and strings.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256.
    """
    sha = hashlib.sha256()
    for name, values in table.items():
        text = not pd.api.types.is_numeric_dtype(values)
        sha.update(f"{name} {'text' if text else values.dtype}\n".encode())
        sha.update("\n".join(values).encode() if text else values.to_numpy().tobytes())
    return sha.hexdigest()[:16]


def parent_of_brick(settings, brick, region):
    """Select the parent sample of one brick.

    Parameters
    ----------
    settings : lenspipe.config.Settings
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
        As in `read_tractor`.
    """
    if settings.targets:
        from lenspipe.targets import targets_of_brick

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
    if settings.survey.catalogs == "tap":
        from lenspipe.queries import select_by_queries as select
    elif settings.survey.catalogs == "sweeps":
        from lenspipe.sweeps import select_from_sweeps as select
    else:
        select = _select_from_files
    return select(settings, name, bricks)


def _select_from_files(settings, name, bricks):
    """Select from a Tractor file per brick."""
    with open_source(settings) as source:

        def work(brick, region):
            table = tractor_of_brick(settings, source, brick, region)
            selected, audit = select_parent(table, settings.parent)
            return selected.sort_values("objid", ignore_index=True), audit

        return try_bricks(
            bricks,
            work,
            f"parent sample of {name}, bricks",
            threads=settings.retrieval.connections if is_remote(settings.survey_paths.tree) else 1,
            status=source.traffic,
        )


def tractor_of_brick(settings, source, brick, region):
    """Read the Tractor file of one brick, wherever the survey is.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    source : lenspipe.retrieval.LocalSource
        Or another, as from `lenspipe.retrieval.open_source`.
    brick, region : str

    Returns
    -------
    pandas.DataFrame
        As of `read_tractor`.

    Raises
    ------
    RetrievalError
        A server did not give the file.
    LenspipeError
        As in `read_tractor`.
    """
    bands, survey = settings.survey.bands, settings.survey_paths
    path = survey.tractor(region, brick)
    with source.table(path, survey.checksums(region, brick)) as local, fetched(path):
        found = read_table(local, *catalog_columns(bands))
    return tractor_table(found, path, settings.release, bands, region)


def parent_of_chunk(settings, chunk):
    """Write the parent sample of a chunk, what each cut removed, and the stage's manifest.

    A brick whose catalogue can't be read or had is left out: the manifest ``parent`` says why and,
    where a server did not give it, whether a later run may fare better.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        With ``failures.strict``, if there are such bricks.
    """
    if settings.targets:
        from lenspipe.targets import parent_of_targets

        return parent_of_targets(settings, chunk)
    tables = [no_rows(settings.survey.bands)]
    audit = no_cuts()
    results, failures = _select(settings, chunk, bricks_of_chunk(settings, chunk))
    entries = failed_entries(settings, failures)
    for brick, (selected, removed) in results.items():
        tables.append(selected)
        audit.iloc[:, 1:] += removed.iloc[:, 1:]
        status = "done" if len(selected) else "empty"
        count = len(selected)
        entries[brick] = {"status": status, "count": count, "hash": content_hash(selected)}
    # Each is sorted by objid already; an empty table among others only takes part in the types.
    table = pd.concat([part for part in tables if len(part)] or tables, ignore_index=True)
    with atomic(settings.paths.parent(chunk)) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(settings.paths.parent_audit(chunk)) as temporary:
        audit.to_csv(temporary, index=False)
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d galaxies of %d sources", chunk, len(table), audit.before.iloc[0])


def merge_audits(settings):
    """Add up what each cut removed in all chunks.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Raises
    ------
    LenspipeError
        A chunk's audit is missing, or no galaxy is left.
    """
    total = no_cuts()
    if settings.targets:
        total = total.head(1).assign(cut="targets")
    for chunk in load_plan(settings):
        path = settings.paths.parent_audit(chunk)
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; make the parent sample of {chunk} first")
        total.iloc[:, 1:] += pd.read_csv(path).iloc[:, 1:]
    for row in total.itertuples():
        log.info(
            "cut %s: %d before, %d removed, %d left", row.cut, row.before, row.removed, row.after
        )
    if not total.after.iloc[-1]:
        raise LenspipeError(_why_nothing(settings, total))
    with atomic(settings.paths.audit) as temporary:
        total.to_csv(temporary, index=False)


def _why_nothing(settings, total):
    entries = {}
    for chunk in load_plan(settings):
        entries |= read_manifest(settings.paths.manifest("parent", chunk))
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
