"""Random galaxies that no network has learnt from, with their scores."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lenspipe.config.flags import rejected
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies
from lenspipe.products.bricks import chunks_of
from lenspipe.utils.progress import track

__all__ = ["draw_galaxies"]

_COLUMNS = ["id", "brick", "region", "ra", "dec", "flags", "p"]


def draw_galaxies(settings):
    """Draw scores of all galaxies, and random galaxies with all that the parent sample knows.

    Galaxies without a score or with a flag of ``candidates.reject_flags`` are left out. Random
    galaxies are `lenspipe.evaluation.random_galaxies.RandomGalaxies`. Chunks are read one after the
    other, and of a large search a part is kept, ``checks.galaxies`` at most.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    scores : numpy.ndarray of float32, shape (M,)
        Sorted.
    random : pandas.DataFrame
        Columns of scores and parent sample, and trained_on (bool): whether a network learnt from
        other galaxies of the brick. What the sample leaves over there is not as it was.
    """
    own, paths = settings.checks, settings.paths
    files = [paths.scores(chunk) for chunk in chunks_of(settings.paths.bricks)]
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    part = min(1.0, own.galaxies / max(total, 1))
    kind, rng = RandomGalaxies(settings), np.random.default_rng([settings.seed, 60])
    scores, parts = [], []
    for chunk in track(chunks_of(settings.paths.bricks), "checks: random galaxies, chunks"):
        table = pd.read_parquet(paths.scores(chunk), columns=_COLUMNS)
        table = table[table["p"].notna() & ~rejected(table["flags"], settings)]
        table = table[rng.random(len(table)) < part]
        scores.append(table["p"].to_numpy(np.float32))
        table = table.drop_duplicates("id")
        fates, _ = kind.sort(table)
        table = table[fates == FATES.index("random")]
        parent = pd.read_parquet(paths.parent(chunk)).drop_duplicates("id")
        extra = parent[["id", *parent.columns.difference(table.columns)]]
        parts.append(table.merge(extra, on="id", how="left"))
    random = pd.concat(parts, ignore_index=True)
    random["trained_on"] = kind.of_training(random["brick"])
    return np.sort(np.concatenate(scores)), random
