"""Scores: tables of a chunk or a brick."""

import numpy as np
import pandas as pd

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import track

__all__ = ["Cuts", "read_chunks"]


class Cuts:
    """Least probability of a candidate, for all galaxies or for each group of them.

    Parameters
    ----------
    per : sequence of str
        What makes groups: ``region``, ``type``; empty for one cut.
    values : dict
        Values of these columns, a tuple -> the cut; compared as float32, as scores are.
    """

    def __init__(self, per, values):
        self.per, self.values = tuple(per), dict(values)

    def of(self, table):
        """Cut of each galaxy; infinite in a group that has none.

        Parameters
        ----------
        table : pandas.DataFrame
            With the columns of `per`.

        Returns
        -------
        numpy.ndarray, float32, shape (N,)
        """
        if not self.per:
            return np.full(len(table), self.values.get((), np.inf), np.float32)
        keys = zip(*(table[name] for name in self.per), strict=True)
        return np.array([self.values.get(key, np.inf) for key in keys], np.float32)

    def passes(self, table):
        """Whether each galaxy is at or above its cut; one without a score is not.

        Parameters
        ----------
        table : pandas.DataFrame
            Columns p and those of `per`.

        Returns
        -------
        numpy.ndarray of bool, shape (N,)
        """
        return table["p"].to_numpy(np.float32) >= self.of(table)

    @property
    def lowest(self):
        """The lowest cut; 1 without galaxies."""
        return min(self.values.values(), default=1.0)


def read_chunks(settings, what, columns=None, of_parent=None, parent=()):
    """Read the scores of one chunk after the other, joined with the parent sample.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    what : str
        What is being done, for the log.
    columns : sequence of str, optional
        Of the scores, all if not given; type is taken from the parent sample.
    of_parent : callable, optional
        From a chunk's scores to those that are to be joined with all else that the parent sample
        knows of them; without it only type is joined, where it is among the columns.
    parent : sequence of str
        Columns of the parent sample that are joined instead of all.

    Yields
    ------
    pandas.DataFrame
        A chunk's galaxies.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy.
    """
    paths = settings.paths
    chunks = sorted(pd.read_parquet(paths.bricks, columns=["chunk"])["chunk"].unique())
    with_type = columns is not None and "type" in columns
    joined = [*parent, *(["type"] if with_type else [])]
    own = columns and [*({*columns, *(["id"] if joined else [])} - {"type"})]
    for chunk in track(chunks, f"{what}: chunks"):
        table = _read(paths.scores(chunk), own, "score this chunk first")
        if of_parent or joined:
            known = _read(
                paths.parent(chunk),
                ["id", *joined] if joined else None,
                "make this chunk's parent sample first",
            )
            table = _join(of_parent(table) if of_parent else table, known, chunk, paths)
        yield table


def _read(path, columns, remedy):
    """Read a table that an earlier step should have made."""
    if not path.exists():
        raise LenspipeError(f"{path}: found no such file, expected a table; {remedy}")
    return pd.read_parquet(path, columns=columns)


def _join(scores, parent, chunk, paths):
    """Scores with what the parent sample knows; of columns in both the scores' are kept."""
    extra = parent[["id", *parent.columns.difference(scores.columns)]]
    rows = scores.merge(extra, on="id", how="left", validate="1:1", indicator="found")
    if lost := list(rows.loc[rows["found"] == "left_only", "id"]):
        raise LenspipeError(
            f"{paths.parent(chunk)}: found no galaxy {lost[0]} ({len(lost)} of {len(rows)} "
            f"missing), expected all of {paths.scores(chunk)}; score this chunk again"
        )
    return rows.drop(columns="found")
