"""Scores of the galaxies of a search, and the cuts that are applied to them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lenspipe.config.paths import RunPaths
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import track

__all__ = ["Cuts", "iterate_scores", "scores_note"]


class Cuts:
    """Minimum probability of a candidate, for all galaxies or for each group of them.

    Parameters
    ----------
    per
        Columns that define groups: ``region``, ``type``; empty for one cut.
    values
        Values of these columns, a tuple -> the cut; compared as float32, as scores are.
    """

    def __init__(self, per: Sequence[str], values: Mapping[tuple, float]) -> None:
        self.per, self.values = tuple(per), dict(values)

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """Cut of each galaxy of a table with the columns `per`, float32; infinite without one."""
        if not self.per:
            return np.full(len(table), self.values.get((), np.inf), np.float32)
        keys = zip(*(table[name] for name in self.per), strict=True)
        return np.array([self.values.get(key, np.inf) for key in keys], np.float32)

    def passes(self, table: pd.DataFrame) -> np.ndarray:
        """Whether each galaxy, of a table with p and the columns `per`, is at or above its cut."""
        return table["p"].to_numpy(np.float32) >= self.of(table)

    @property
    def lowest(self) -> float:
        """The lowest cut; 1 without galaxies."""
        return min(self.values.values(), default=1.0)


def scores_note(paths: Iterable[Path]) -> str:
    """What the model of some tables of scores says of itself, from the first that has rows."""
    for path in paths:
        if "model" in pq.read_schema(path).names:
            notes = pd.read_parquet(path, columns=["model"])["model"]
            if len(notes):
                return str(notes.iloc[0])
    return ""


def iterate_scores(
    paths: RunPaths,
    description: str,
    columns: Sequence[str] | None = None,
    of_parent: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    parent: Sequence[str] = (),
) -> Iterator[pd.DataFrame]:
    """Read the scores of one chunk after the other, joined with the parent sample.

    Parameters
    ----------
    description
        Of the work, for the log.
    columns
        Of the scores, all if not given; type is taken from the parent sample.
    of_parent
        Selects those of a chunk's scores that are joined with all columns of the parent sample;
        without it only type is joined, if it is among the columns.
    parent
        Columns of the parent sample that are joined instead of all.

    Yields
    ------
    pandas.DataFrame
        Galaxies of a chunk.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy.
    """
    with_type = columns is not None and "type" in columns
    joined = [*parent, *(["type"] if with_type else [])]
    of_scores = columns and [*({*columns, *(["id"] if joined else [])} - {"type"})]
    for chunk in track(chunks_of(paths.bricks), f"{description}: chunks"):
        table = read_table(paths.scores(chunk), "scores", columns=of_scores)
        if of_parent or joined:
            galaxies = read_table(
                paths.parent(chunk), "parent", columns=["id", *joined] if joined else None
            )
            table = _join(of_parent(table) if of_parent else table, galaxies, chunk, paths)
        yield table


def _join(scores: pd.DataFrame, parent: pd.DataFrame, chunk: str, paths: RunPaths) -> pd.DataFrame:
    """Join scores with the parent sample; columns in both are those of the scores."""
    extra = parent[["id", *parent.columns.difference(scores.columns)]]
    rows = scores.merge(extra, on="id", how="left", validate="1:1", indicator="found")
    if missing := list(rows.loc[rows["found"] == "left_only", "id"]):
        raise LenspipeError(
            f"{paths.parent(chunk)}: found no galaxy {missing[0]} ({len(missing)} of {len(rows)} "
            f"missing), expected all of {paths.scores(chunk)}; score this chunk again"
        )
    return rows.drop(columns="found")
