"""Scores of a whole survey, chunk by chunk: counted, ranked and chosen from in bounded memory."""

import numpy as np
import pandas as pd

from lenspipe.config.flags import rejected
from lenspipe.products.scores import iterate_scores

__all__ = ["count_scores", "nth_highest", "positions_above"]

_HALF = 1 << 16


def _groups(settings, what, extra=()):
    """Yield the galaxies that may be candidates: a group's key and rows of it."""
    per = settings.candidates.threshold.per
    for table in iterate_scores(settings.paths, what, ["p", "flags", *per, *extra]):
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
    settings : lenspipe.config.settings.Settings

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
    settings : lenspipe.config.settings.Settings
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
    settings : lenspipe.config.settings.Settings
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
