"""Matched draw: non-lenses of the same Tractor types, regions and exposures as the lenses."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

__all__ = ["BIN", "bin_names", "draw_matched", "matched_ratio"]

#: Columns whose values define a bin; exposures are those in the last band.
BIN = ["type", "region", "exposures"]

#: Values of these columns.
Key = tuple[str, str, int]

#: Fraction of the non-lenses that may always come from a neighbour of a bin with too few.
_BORROWED = 0.05


def bin_names(table: pd.DataFrame) -> list[str]:
    """Names of the bins of galaxies, such as ``SER south 5``."""
    return [" ".join(map(str, key)) for key in table[BIN].itertuples(index=False)]


def matched_ratio(lenses: ArrayLike, supply: ArrayLike, maximum: float) -> float:
    """Return the number of non-lenses per lens that every bin can have.

    With the same ratio in each bin, a bin carries no information on the class. The ratio is the
    largest at which at most 5 % of the non-lenses have to come from a neighbouring bin, or a
    fraction of one over the square root of the number of lenses, the noise of their own
    distribution. It is 0 if there is no possible non-lens. `lenses` and `supply` are the lenses and
    possible non-lenses in each bin of each split, (N,).
    """
    lenses, supply = np.asarray(lenses), np.asarray(supply)
    borrowed = max(_BORROWED, 1 / np.sqrt(lenses.sum()))
    if not supply.any():
        return 0.0

    def affordable(ratio: float) -> bool:
        return np.maximum(ratio * lenses - supply, 0).sum() <= borrowed * ratio * lenses.sum()

    if affordable(maximum):
        return maximum
    low, high = 0.0, maximum
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return low


def draw_matched(
    pool: pd.DataFrame,
    lenses: pd.DataFrame,
    ratio: float,
    accept: Callable[[pd.DataFrame], pd.DataFrame],
    rng: np.random.Generator,
) -> tuple[list[pd.DataFrame], int]:
    """Draw non-lenses bin by bin; a bin with too few of them takes from its neighbours.

    Galaxies of a bin are drawn in the order of column ``priority``, at random among equals.
    Neighbours of a bin are those of its type and region, nearest in exposures first, then those of
    its region. Return rows of the pool, and the number of non-lenses that are missing.

    Parameters
    ----------
    pool
        Possible non-lenses: columns of `BIN` and priority (int, the lowest first).
    lenses
        Columns of `BIN`.
    ratio
        Non-lenses per lens.
    accept
        Returns the rows that are good of some rows of the pool.
    """
    queues = _queues(pool, rng)
    drawn: list[pd.DataFrame] = []

    def take(requested: Mapping[Key, int]) -> Counter[Key]:
        got: Counter[Key] = Counter()
        while batch := {
            key: queues[key][: n - got[key]]
            for key, n in requested.items()
            if n > got[key] and len(queues.get(key, ()))
        }:
            for key, rows in batch.items():
                queues[key] = queues[key][len(rows) :]
            good = accept(pool.iloc[np.concatenate(list(batch.values()))])
            drawn.append(good)
            got.update(good[BIN].itertuples(index=False, name=None))
        return got

    quotas = _quotas(lenses, ratio)
    got, short = take(quotas), 0
    for key, n in quotas.items():
        lacking = n - got[key]
        for neighbour in _neighbours(key, queues):
            if lacking:
                lacking -= take({neighbour: lacking})[neighbour]
        short += lacking
    return drawn, short


def _queues(pool: pd.DataFrame, rng: np.random.Generator) -> dict[Key, np.ndarray]:
    """Bin -> positions of its rows in the order in which they are drawn."""
    order = rng.permutation(len(pool))
    order = order[np.argsort(pool["priority"].to_numpy()[order], kind="stable")]
    groups = pool[BIN].iloc[order].groupby(BIN, observed=True).indices
    return {key: order[positions] for key, positions in sorted(groups.items())}


def _quotas(lenses: pd.DataFrame, ratio: float) -> dict[Key, int]:
    """Bin -> number of non-lenses, rounded so that the total is right."""
    counts = lenses.groupby(BIN, observed=True).size().sort_index()
    ends = np.floor(counts.cumsum().to_numpy() * ratio + 0.5).astype(int)
    return dict(zip(counts.index, np.diff(ends, prepend=0).tolist(), strict=True))


def _neighbours(key: Key, bins: Iterable[Key]) -> list[Key]:
    """Neighbours of a bin, nearest first."""
    tractor_type, region, exposures = key
    return sorted(
        (other for other in bins if other[1] == region and other != key),
        key=lambda other: (other[0] != tractor_type, abs(other[2] - exposures), other),
    )
