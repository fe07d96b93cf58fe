"""Random galaxies that no network was trained on, with their scores."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.settings import Settings
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.utils.progress import track

__all__ = ["draw_galaxies"]

_COLUMNS = ["id", "brick", "region", "ra", "dec", "flags", "p"]


def draw_galaxies(settings: Settings) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw scores of all galaxies, and random galaxies with their columns of the parent sample.

    Galaxies without a score or with a flag of ``candidates.reject_flags`` are left out. Random
    galaxies are those of `lenspipe.evaluation.random_galaxies.RandomGalaxies`. Chunks are read one
    by one; of a large search a random subset of at most about ``checks.galaxies`` is kept.

    Returns
    -------
    scores : numpy.ndarray of float32, shape (M,)
        Sorted.
    random : pandas.DataFrame
        Columns of scores and parent sample, and trained_on (bool): whether a network was trained on
        other galaxies of the brick. Galaxies that the sample leaves over there are not typical.
    """
    paths = settings.paths
    files = [paths.scores(chunk) for chunk in chunks_of(settings.paths.bricks)]
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    fraction = min(1.0, settings.checks.galaxies / max(total, 1))
    population, rng = RandomGalaxies(settings), np.random.default_rng([settings.seed, 60])
    scores, tables = [], []
    for chunk in track(chunks_of(settings.paths.bricks), "checks: random galaxies, chunks"):
        table = read_table(paths.scores(chunk), "scores", columns=_COLUMNS)
        table = table[table["p"].notna() & ~has_rejected_flag(table["flags"], settings)]
        table = table[rng.random(len(table)) < fraction]
        scores.append(table["p"].to_numpy(np.float32))
        table = table.drop_duplicates("id")
        fates, _ = population.classify(table)
        table = table[fates == FATES.index("random")]
        parent = read_table(paths.parent(chunk), "parent").drop_duplicates("id")
        extra = parent[["id", *parent.columns.difference(table.columns)]]
        tables.append(table.merge(extra, on="id", how="left"))
    random = pd.concat(tables, ignore_index=True)
    random["trained_on"] = population.in_training_bricks(random["brick"])
    return np.sort(np.concatenate(scores)), random
