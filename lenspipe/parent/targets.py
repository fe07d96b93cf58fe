"""The parent sample of a list of targets."""

import numpy as np
import pandas as pd

from lenspipe.catalogs.targets import read_targets
from lenspipe.products.manifests import write_manifest
from lenspipe.products.parent import make_audit, parent_columns
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.products.tables import write_table
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["parent_of_targets", "targets_of_brick"]


def targets_of_brick(settings, brick):
    """Return the targets in a brick as its parent sample.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick : str

    Returns
    -------
    selected : pandas.DataFrame
        `lenspipe.products.parent.parent_columns`; sorted by objid, which is the row's number in the
        list.
    audit : pandas.DataFrame
        One row: cut ('targets'), before, after, removed (0).

    Raises
    ------
    LenspipeError
        As in `read_targets`; the brick is not in this run.
    """
    chunk, _ = find_brick(settings.paths.plan, brick)
    table = _parent(settings, chunk)
    table = table[table["brick"] == brick].reset_index(drop=True)
    return table, _audit(len(table))


def parent_of_targets(settings, chunk):
    """Write the targets of a chunk as `lenspipe.parent.select.parent_of_chunk` writes its galaxies.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        As in `read_targets`; no such chunk in this run.
    """
    table = _parent(settings, chunk)
    entries = {
        brick: {"status": "done", "count": len(rows), "hash": content_hash(rows)}
        for brick, rows in table.groupby("brick")
    }
    # By brick and number, as a footprint's parent sample is by brick and objid.
    table = table.sort_values(["brick", "objid"], ignore_index=True)
    write_table(settings.paths.parent(chunk), table)
    write_table(settings.paths.parent_audit(chunk), _audit(len(table)))
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d targets in %d bricks", chunk, len(table), len(entries))


def _parent(settings, chunk):
    """Rows of the parent sample of a chunk, in the order of the list."""
    regions = dict(bricks_of_chunk(settings.paths.plan, chunk))
    targets = read_targets(settings.targets)
    targets = targets[targets["brick"].isin(regions)].reset_index(drop=True)
    columns = parent_columns(settings.survey.bands)
    blank = {"str": "", "float32": np.nan}
    data = {name: blank.get(kind, 0) for name, kind in columns.items()}
    data |= {name: targets[name] for name in ("id", "brickid", "ra", "dec", "brick")}
    data |= {"objid": targets["number"], "region": targets["brick"].map(regions)}
    return pd.DataFrame(data, index=targets.index).astype(columns)


def _audit(number):
    return make_audit([("targets", number, number)])
