"""Tables of scores without scores, for lists of targets that no model looks at."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.cutouts import read_catalog
from lenspipe.products.manifests import read_manifest
from lenspipe.products.schema import FLAGS, IDENTITY, dtypes_of
from lenspipe.products.tables import write_table
from lenspipe.utils.progress import log

__all__ = ["list_brick", "list_chunk"]

_IDENTIFIERS = dtypes_of((*IDENTITY, *FLAGS))


def list_chunk(paths: RunPaths, chunk: str) -> int:
    """Write ``scores/<chunk>.parquet`` with all cutouts of a chunk and without scores.

    Columns p and p_calibrated are NaN. Return the number of cutouts.
    """
    bricks = read_manifest(paths.manifest("cutouts", chunk))
    files = [
        paths.cutouts(brick)
        for brick, entry in sorted(bricks.items())
        if entry["status"] != "failed" and entry["count"]
    ]
    number = _write(paths.scores(chunk), files)
    log.info("chunk %s: listed %d cutouts, without a model", chunk, number)
    return number


def list_brick(paths: RunPaths, brick: str) -> int:
    """List one brick like a chunk, in ``scores/bricks/<brick>.parquet``."""
    return _write(paths.brick_scores(brick), [paths.cutouts(brick)])


def _write(path: Path, files: Iterable[Path]) -> int:
    empty = pd.DataFrame({name: [] for name in _IDENTIFIERS})
    table = pd.concat([empty, *(read_catalog(file)[[*_IDENTIFIERS]] for file in files)])
    table = table.astype(_IDENTIFIERS).assign(p=np.float32(np.nan), p_calibrated=np.float32(np.nan))
    write_table(path, table.reset_index(drop=True))
    return len(table)
