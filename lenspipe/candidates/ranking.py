"""Scores of a whole survey, chunk by chunk: counted, ranked and selected in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Candidates
from lenspipe.products.scores import iterate_scores

__all__ = ["count_scores", "nth_highest", "positions_above"]

#: Values of the columns in ``candidates.threshold.per``, as in `lenspipe.products.scores.Cuts`.
GroupKey = tuple[str, ...]

_HALF = 1 << 16


def _groups(
    paths: RunPaths, candidates: Candidates, activity: str, extra: Sequence[str] = ()
) -> Iterator[tuple[GroupKey, pd.DataFrame]]:
    """Yield the galaxies that may become candidates: the key of a group and rows of it."""
    per = candidates.threshold.per
    for table in iterate_scores(paths, activity, ["p", "flags", *per, *extra]):
        rejected = has_rejected_flag(table["flags"], candidates.reject_flags)
        table = table[table["p"].notna() & ~rejected]
        if not per:
            yield (), table
        else:
            yield from table.groupby(list(per), sort=False)


def _bits(p: ArrayLike) -> np.ndarray:
    """Scores as integers in the same order: the bits of non-negative float32 numbers."""
    # Adding 0 turns -0, whose bits are those of the largest integer, into 0.
    return (np.asarray(p, np.float32) + np.float32(0)).view(np.uint32)


def count_scores(paths: RunPaths, candidates: Candidates) -> dict[GroupKey, np.ndarray]:
    """Count scores by the upper half of their bits, in each group.

    Galaxies without a score or with a flag of ``candidates.reject_flags`` are not counted. Counts
    are int64, shape (65536,).
    """
    counts: dict[GroupKey, np.ndarray] = {}
    if not candidates.threshold.per:
        counts[()] = np.zeros(_HALF, np.int64)
    for key, rows in _groups(paths, candidates, "counting scores"):
        counts_of_group = counts.setdefault(key, np.zeros(_HALF, np.int64))
        counts_of_group += np.bincount(_bits(rows["p"]) >> 16, minlength=_HALF)
    return counts


def nth_highest(
    paths: RunPaths,
    candidates: Candidates,
    counts: Mapping[GroupKey, np.ndarray],
    numbers: Mapping[GroupKey, int],
) -> dict[GroupKey, float]:
    """Find the n-th highest score of each group, exactly and by reading the scores twice.

    Scores are 32-bit floating-point numbers. The first reading, `count_scores`, tells in which of
    65,536 intervals the n-th lies; this one counts the scores in that interval. Memory holds only
    these counts and one chunk, whatever the number of galaxies. The score is 0, which all galaxies
    reach, where the group has no more than n galaxies, and infinity where n is 0.
    """
    scores, intervals, remaining = {}, {}, {}
    for key, n in numbers.items():
        if n < 1 or n >= counts[key].sum():
            scores[key] = np.inf if n < 1 else 0.0
            continue
        above = np.cumsum(counts[key][::-1])[::-1]
        interval = int(np.flatnonzero(above >= n)[-1])
        intervals[key] = interval
        remaining[key] = n - (above[interval] - counts[key][interval])
    if not intervals:
        return scores
    fine = {key: np.zeros(_HALF, np.int64) for key in intervals}
    for key, rows in _groups(paths, candidates, "ranking scores"):
        if key in intervals:
            bits = _bits(rows["p"])
            inside = bits[bits >> 16 == intervals[key]]
            fine[key] += np.bincount(inside & (_HALF - 1), minlength=_HALF)
    for key, interval in intervals.items():
        above = np.cumsum(fine[key][::-1])[::-1]
        last = int(np.flatnonzero(above >= remaining[key])[-1])
        scores[key] = float(np.array([interval * _HALF + last], np.uint32).view(np.float32)[0])
    return scores


def positions_above(
    paths: RunPaths, candidates: Candidates, cuts: Mapping[GroupKey, float]
) -> dict[GroupKey, pd.DataFrame]:
    """Read positions and scores of all galaxies of each group at or above a cut.

    The tables have columns p, ra, dec (degrees); groups without a cut are left out.
    """
    selected: dict[GroupKey, list[pd.DataFrame]] = {key: [] for key in cuts}
    activity = "reading the highest scores"
    for key, rows in _groups(paths, candidates, activity, ("ra", "dec")):
        if key in cuts:
            above = rows["p"].to_numpy(np.float32) >= np.float32(cuts[key])
            selected[key].append(rows.loc[above, ["p", "ra", "dec"]])
    return {key: pd.concat(tables, ignore_index=True) for key, tables in selected.items()}
