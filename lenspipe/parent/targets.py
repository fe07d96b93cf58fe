"""The parent sample of a list of targets."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.manifests import write_manifest
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.products.tables import make_audit, parent_columns, write_table
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["parent_of_targets", "targets_of_brick"]


def targets_of_brick(
    plan: Path, brick: str, targets: pd.DataFrame, bands: Iterable[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the targets in a brick as its parent sample.

    Targets are those of `lenspipe.catalogs.targets.read_targets`. The sample has
    `lenspipe.products.tables.parent_columns` and is sorted by objid, which is the row's number in
    the list; the audit has one row: cut (``targets``), before, after, removed (0).

    Raises
    ------
    LenspipeError
        The brick is not in this run.
    """
    chunk, _ = find_brick(plan, brick)
    table = _parent(targets, dict(bricks_of_chunk(plan, chunk)), bands)
    table = table[table["brick"] == brick].reset_index(drop=True)
    return table, _audit(len(table))


def parent_of_targets(
    paths: RunPaths, chunk: str, targets: pd.DataFrame, bands: Iterable[str]
) -> None:
    """Write the targets of a chunk as `lenspipe.parent.select.parent_of_chunk` writes its galaxies.

    They are those of `lenspipe.catalogs.targets.read_targets`.

    Raises
    ------
    LenspipeError
        There is no such chunk in this run.
    """
    table = _parent(targets, dict(bricks_of_chunk(paths.plan, chunk)), bands)
    entries = {
        brick: {"status": "done", "count": len(rows), "hash": content_hash(rows)}
        for brick, rows in table.groupby("brick")
    }
    # By brick and number, as a footprint's parent sample is by brick and objid.
    table = table.sort_values(["brick", "objid"], ignore_index=True)
    write_table(paths.parent(chunk), table)
    write_table(paths.parent_audit(chunk), _audit(len(table)))
    write_manifest(paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d targets in %d bricks", chunk, len(table), len(entries))


def _parent(
    targets: pd.DataFrame, regions: Mapping[str, str], bands: Iterable[str]
) -> pd.DataFrame:
    """Rows of the parent sample in bricks (brick -> region), in the order of the list."""
    targets = targets[targets["brick"].isin(regions)].reset_index(drop=True)
    columns = parent_columns(bands)
    blank = {"str": "", "float32": np.nan}
    data = {name: blank.get(dtype, 0) for name, dtype in columns.items()}
    data |= {name: targets[name] for name in ("id", "brickid", "ra", "dec", "brick")}
    data |= {"objid": targets["number"], "region": targets["brick"].map(regions)}
    return pd.DataFrame(data, index=targets.index).astype(columns)


def _audit(number: int) -> pd.DataFrame:
    return make_audit([("targets", number, number)])
