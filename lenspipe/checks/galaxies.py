"""Random galaxies that no network was trained on, with their scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.utils.progress import track

__all__ = ["draw_galaxies"]

_COLUMNS = ["id", "brick", "region", "ra", "dec", "flags", "p"]


def draw_galaxies(
    paths: RunPaths,
    population: RandomGalaxies,
    reject_flags: Sequence[str],
    number: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw scores of all galaxies, and random galaxies with their columns of the parent sample.

    Galaxies without a score or with a rejected flag are left out. Chunks are read one by one; of a
    large search a random subset of at most about the given number is kept. Scores are float32,
    (M,), sorted. Random galaxies have the columns of scores and parent sample, and trained_on
    (bool): whether a network was trained on other galaxies of the brick. Galaxies that the sample
    leaves over there are not typical.
    """
    chunks = chunks_of(paths.bricks)
    total = sum(pq.ParquetFile(paths.scores(chunk)).metadata.num_rows for chunk in chunks)
    fraction = min(1.0, number / max(total, 1))
    scores, tables = [], []
    for chunk in track(chunks, "checks: random galaxies, chunks"):
        table = read_table(paths.scores(chunk), "scores", columns=_COLUMNS)
        table = table[table["p"].notna() & ~has_rejected_flag(table["flags"], reject_flags)]
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
