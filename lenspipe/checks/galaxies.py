"""Random galaxies that no network has learnt from, with their scores."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from lenspipe.candidates import rejected
from lenspipe.match import unit_vectors
from lenspipe.progress import track

__all__ = ["chord", "chunks_of", "draw_galaxies"]

_COLUMNS = ["id", "brick", "region", "ra", "dec", "flags", "p"]


def chord(arcsec):
    """Distance on the unit sphere.

    Parameters
    ----------
    arcsec : float
        Angle.

    Returns
    -------
    float
    """
    return 2 * np.sin(np.radians(arcsec / 3600) / 2)


def chunks_of(settings):
    """Names of the run's chunks, in order.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    list of str
    """
    return sorted(pd.read_parquet(settings.paths.bricks, columns=["chunk"])["chunk"].unique())


def draw_galaxies(settings, sample):
    """Draw scores of all galaxies, and random galaxies with all that the parent sample knows.

    Galaxies without a score or with a flag of ``candidates.reject_flags`` are left out. So are,
    among the random ones, those within ``sample.exclusion_arcsec`` of a known lens and those of the
    splits train and validation. Chunks are read one after the other, and of a large search a part
    is kept, ``checks.galaxies`` at most.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    sample : pandas.DataFrame or None
        The labelled sample; None of a given model, which was trained elsewhere.

    Returns
    -------
    scores : numpy.ndarray of float32, shape (M,)
        Sorted.
    random : pandas.DataFrame
        Columns of scores and parent sample, and held_out (bool): whether in the test split. Those
        that the sample left over are others than those that it took.
    """
    own, paths = settings.checks, settings.paths
    files = [paths.scores(chunk) for chunk in chunks_of(settings)]
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files if path.exists())
    part = min(1.0, own.galaxies / max(total, 1))
    split = pd.Series(dtype=object)
    if sample is not None:
        split = sample.set_index(sample["id"].str.removeprefix("injected:"))["split"]
    learnt = set(split.index[split != "test"])
    held_out = set(split.index) - learnt
    lenses = pd.read_parquet(paths.lenses, columns=["ra", "dec"])
    tree = cKDTree(unit_vectors(lenses["ra"], lenses["dec"])) if len(lenses) else None
    rng, scores = np.random.default_rng([settings.seed, 60]), []

    parts = []
    for chunk in track(chunks_of(settings), "checks: random galaxies, chunks"):
        table = pd.read_parquet(paths.scores(chunk), columns=_COLUMNS)
        table = table[table["p"].notna() & ~rejected(table["flags"], settings)]
        table = table[rng.random(len(table)) < part]
        scores.append(table["p"].to_numpy(np.float32))
        table = table[~table["id"].isin(learnt)].drop_duplicates("id")
        if tree and len(table):
            near = chord(settings.sample.exclusion_arcsec)
            here = unit_vectors(table["ra"], table["dec"])
            table = table[np.isinf(tree.query(here, distance_upper_bound=near)[0])]
        parent = pd.read_parquet(paths.parent(chunk)).drop_duplicates("id")
        extra = parent[["id", *parent.columns.difference(table.columns)]]
        parts.append(table.merge(extra, on="id", how="left"))
    random = pd.concat(parts, ignore_index=True)
    random["held_out"] = random["id"].isin(held_out)
    return np.sort(np.concatenate(scores)), random
