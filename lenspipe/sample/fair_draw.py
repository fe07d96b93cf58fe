"""Fair draw: non-lenses of the same Tractor types, regions and exposures as the lenses."""

from collections import Counter

import numpy as np

__all__ = ["BIN", "bin_names", "draw_fairly", "fair_ratio"]

#: What a bin is made of: columns of the galaxies; exposures are those in the last band.
BIN = ["type", "region", "exposures"]

#: Part of the non-lenses that may always come from a bin beside the one that lacks them.
_BORROWED = 0.05


def bin_names(table):
    """Name the bins of galaxies.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns of `BIN`.

    Returns
    -------
    list of str
        Such as ``SER south 5``.
    """
    return [" ".join(map(str, key)) for key in table[BIN].itertuples(index=False)]


def fair_ratio(lenses, supply, most):
    """Return how many non-lenses per lens every bin can have.

    With the same number in each bin, a bin says nothing about the class. It is the largest at which
    at most 5 % of the non-lenses have to come from a neighbouring bin, or a part of one over the
    square root of the number of lenses, which is the noise of their own distribution.

    Parameters
    ----------
    lenses, supply : array of int, (N,)
        Lenses and possible non-lenses in each bin of each split.
    most : float
        Number that is not exceeded.

    Returns
    -------
    float
        0 without any possible non-lens.
    """
    lenses, supply = np.asarray(lenses), np.asarray(supply)
    borrowed = max(_BORROWED, 1 / np.sqrt(lenses.sum()))
    if not supply.any():
        return 0.0

    def affordable(ratio):
        return np.maximum(ratio * lenses - supply, 0).sum() <= borrowed * ratio * lenses.sum()

    if affordable(most):
        return most
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return low


def draw_fairly(pool, lenses, ratio, accept, rng):
    """Draw non-lenses bin by bin; a bin that lacks them takes from those next to it.

    The order in a bin is that of column ``priority``, at random among equals. Neighbours of a bin
    are those of its type and region, nearest in exposures first, then those of its region.

    Parameters
    ----------
    pool : pandas.DataFrame
        Possible non-lenses: columns of `BIN` and priority (int, the lowest first).
    lenses : pandas.DataFrame
        Columns of `BIN`.
    ratio : float
        Non-lenses per lens.
    accept : callable
        Takes rows of the pool and returns those of them that are good.
    rng : numpy.random.Generator
        Decides the order.

    Returns
    -------
    drawn : list of pandas.DataFrame
        Rows of the pool.
    short : int
        How many could not be had.
    """
    queues, drawn = _queues(pool, rng), []

    def take(asked):
        got = Counter()
        while batch := {
            key: queues[key][: n - got[key]]
            for key, n in asked.items()
            if n > got[key] and len(queues.get(key, ()))
        }:
            for key, rows in batch.items():
                queues[key] = queues[key][len(rows) :]
            good = accept(pool.iloc[np.concatenate(list(batch.values()))])
            drawn.append(good)
            got.update(good[BIN].itertuples(index=False, name=None))
        return got

    wanted = _quotas(lenses, ratio)
    got, short = take(wanted), 0
    for key, n in wanted.items():
        lacking = n - got[key]
        for near in _neighbours(key, queues):
            if lacking:
                lacking -= take({near: lacking})[near]
        short += lacking
    return drawn, short


def _queues(pool, rng):
    """Bin -> positions of its rows in the order in which they are drawn."""
    order = rng.permutation(len(pool))
    order = order[np.argsort(pool["priority"].to_numpy()[order], kind="stable")]
    groups = pool[BIN].iloc[order].groupby(BIN, observed=True).indices
    return {key: order[positions] for key, positions in sorted(groups.items())}


def _quotas(lenses, ratio):
    """Bin -> number of non-lenses; rounded so that their sum is right."""
    counts = lenses.groupby(BIN, observed=True).size().sort_index()
    ends = np.floor(counts.cumsum().to_numpy() * ratio + 0.5).astype(int)
    return dict(zip(counts.index, np.diff(ends, prepend=0).tolist(), strict=True))


def _neighbours(key, queues):
    kind, region, exposures = key
    near = [other for other in queues if other[1] == region and other != key]
    return sorted(near, key=lambda other: (other[0] != kind, abs(other[2] - exposures), other))
