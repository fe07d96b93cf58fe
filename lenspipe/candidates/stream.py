"""Scores of a whole survey, chunk by chunk: counted, ranked and chosen from in bounded memory."""

import numpy as np
import pandas as pd

from lenspipe.errors import LenspipeError
from lenspipe.progress import track
from lenspipe.stamps import FLAGS

__all__ = [
    "Cuts",
    "count_scores",
    "nth_highest",
    "positions_above",
    "read_chunks",
    "rejected",
]

_HALF = 1 << 16


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


def rejected(flags, settings):
    """Which cutouts have a flag of ``candidates.reject_flags``.

    Parameters
    ----------
    flags : array_like of int, shape (N,)
        As in the cutout files.
    settings : lenspipe.config.Settings

    Returns
    -------
    numpy.ndarray of bool, shape (N,)
    """
    mask = sum(int(FLAGS[name]) for name in set(settings.candidates.reject_flags))
    return (np.asarray(flags, dtype=np.int64) & mask) != 0


def read_chunks(settings, what, columns=None, of_parent=None, parent=()):
    """Read the scores of one chunk after the other, joined with the parent sample.

    Parameters
    ----------
    settings : lenspipe.config.Settings
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


def _groups(settings, what, extra=()):
    """Yield the galaxies that may be candidates: a group's key and rows of it."""
    per = settings.candidates.threshold.per
    for table in read_chunks(settings, what, ["p", "flags", *per, *extra]):
        table = table[table["p"].notna() & ~rejected(table["flags"], settings)]
        if not per:
            yield (), table
        else:
            yield from table.groupby(list(per), sort=False)


def _bits(p):
    """Scores as whole numbers in the same order: those of float32 from 0 on are."""
    # Adding 0 makes 0 of -0, whose bits are those of the largest number of all.
    return (np.asarray(p, np.float32) + np.float32(0)).view(np.uint32)


def count_scores(settings):
    """Count scores by the upper half of their bits, in each group.

    Galaxies without a score or with a flag of ``candidates.reject_flags`` are not counted.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    dict
        Key of a group, as in `Cuts` -> counts, (65536,) int64.
    """
    counts = {} if settings.candidates.threshold.per else {(): np.zeros(_HALF, np.int64)}
    for key, rows in _groups(settings, "counting scores"):
        own = counts.setdefault(key, np.zeros(_HALF, np.int64))
        own += np.bincount(_bits(rows["p"]) >> 16, minlength=_HALF)
    return counts


def nth_highest(settings, counts, numbers):
    """Find the n-th highest score of each group, exactly and in two readings.

    Scores are floating-point numbers of 32 bits. The first reading, `count_scores`, tells in which
    of 65,536 intervals the n-th lies, and this one counts the scores in that interval. Whatever the
    number of galaxies, memory holds these counts and a chunk.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    counts : dict
        As of `count_scores`.
    numbers : dict
        Key of a group -> n.

    Returns
    -------
    dict
        Key -> score (float); 0, which all galaxies have, where the group has no more than n, and
        infinity where n is 0.
    """
    found, places, left = {}, {}, {}
    for key, n in numbers.items():
        if n < 1 or n >= counts[key].sum():
            found[key] = np.inf if n < 1 else 0.0
            continue
        above = np.cumsum(counts[key][::-1])[::-1]
        places[key] = int(np.flatnonzero(above >= n)[-1])
        left[key] = n - (above[places[key]] - counts[key][places[key]])
    if not places:
        return found
    low = {key: np.zeros(_HALF, np.int64) for key in places}
    for key, rows in _groups(settings, "ranking scores"):
        if key in places:
            bits = _bits(rows["p"])
            inside = bits[bits >> 16 == places[key]]
            low[key] += np.bincount(inside & (_HALF - 1), minlength=_HALF)
    for key, place in places.items():
        above = np.cumsum(low[key][::-1])[::-1]
        last = int(np.flatnonzero(above >= left[key])[-1])
        found[key] = float(np.array([place * _HALF + last], np.uint32).view(np.float32)[0])
    return found


def positions_above(settings, cuts):
    """Read position and score of all galaxies of each group at or above a cut.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    cuts : dict
        Key of a group -> cut; groups that it lacks are left out.

    Returns
    -------
    dict
        Key -> pandas.DataFrame with columns p, ra, dec.
    """
    parts = {key: [] for key in cuts}
    for key, rows in _groups(settings, "reading the highest scores", ("ra", "dec")):
        if key in cuts:
            above = rows["p"].to_numpy(np.float32) >= np.float32(cuts[key])
            parts[key].append(rows.loc[above, ["p", "ra", "dec"]])
    return {key: pd.concat(tables, ignore_index=True) for key, tables in parts.items()}
