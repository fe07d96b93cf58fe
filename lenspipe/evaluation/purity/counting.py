"""Exact counts of a search's galaxies between thresholds, in bounded memory."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies
from lenspipe.products.scores import Cuts, iterate_scores
from lenspipe.statistics.metrics import PROPERTY_BINS

__all__ = ["Search", "Tally", "above", "count_search", "thresholds_with"]

#: Commonly quoted thresholds, in addition to ten in each decade of the odds p / (1 - p).
_ROUND = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
    *(0.9999, 0.99999, 0.999999),
)

_LOG_ODDS = np.arange(-40, 71) / 10


def thresholds_with(cuts: Cuts) -> np.ndarray:
    """Return the thresholds at which galaxies are counted, with the run's cuts: float32, sorted."""
    odds = 10.0**_LOG_ODDS
    finite = [cut for cut in cuts.values.values() if np.isfinite(cut)]
    return np.unique(np.concatenate([odds / (1 + odds), _ROUND, finite]).astype(np.float32))


class Tally:
    """Counts of galaxies in classes, such as intervals between thresholds, by groups."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._counts: dict[str, dict[str, np.ndarray]] = {}

    def add(self, group: str, values: pd.Categorical, classes: np.ndarray) -> None:
        """Count N galaxies by the value of the property `group` and by their class (int)."""
        codes = np.asarray(values.codes, np.int64)
        size = len(values.categories) * self.n_classes
        counts = np.bincount(codes * self.n_classes + classes, minlength=size)
        totals = self._counts.setdefault(group, {})
        for value, row in zip(values.categories, counts.reshape(-1, self.n_classes), strict=True):
            totals[value] = totals.get(value, 0) + row

    def groups(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield group, value and counts (int64, (n_classes,)) where there is a galaxy.

        Groups are in the order in which they were first added, values sorted except for intervals.
        """
        for group, totals in self._counts.items():
            for value in totals if group in _INTERVALS else sorted(totals):
                if totals[value].sum():
                    yield group, str(value), totals[value]


#: Group -> its bins in `PROPERTY_BINS`.
_INTERVALS = {"exposures": "nobs", "magnitude": "mag"}


class Search:
    """The galaxies of a search, counted between T thresholds (float32).

    Attributes
    ----------
    random, at_cuts : Tally
        Random galaxies by interval, and by whether they pass the run's cuts. Where groups have cuts
        of their own, ``cut`` counts those of each in bricks that were never trained on.
    searched, known, sky : numpy.ndarray, shape (T + 1,)
        Galaxies that can be candidates in each interval, known lenses among them, and the sum of
        their probabilities on the sky (NaN where these are not known); the first interval is below
        the lowest threshold.
    fates : numpy.ndarray of int, shape (len(FATES),)
        Number of galaxies of each fate.
    """

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds = thresholds
        n_classes = len(thresholds) + 1
        self.random, self.at_cuts = Tally(n_classes), Tally(2)
        self.searched, self.known = np.zeros((2, n_classes), np.int64)
        self.sky = np.zeros(n_classes)
        self.fates = np.zeros(len(FATES), np.int64)


def above(counts: np.ndarray) -> np.ndarray:
    """Sum the counts at or above each of T thresholds from those in the T + 1 intervals."""
    return np.cumsum(counts[::-1])[::-1][1:]


def count_search(
    paths: RunPaths,
    band: str,
    cuts: Cuts,
    population: RandomGalaxies,
    to_sky: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Search:
    """Count the galaxies of a search, chunk by chunk.

    `band` is that of magnitude and exposures; `to_sky` converts scores to probabilities on the sky.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy.
    """
    search = Search(thresholds_with(cuts))
    tables = iterate_scores(
        paths,
        "purity",
        ["id", "brick", "region", "ra", "dec", "flags", "p"],
        # Repeated rows are in the same chunk, and the parent sample has a single one.
        of_parent=lambda scores: _drop_repeated(scores, search),
        parent=["type", f"mag_{band}", f"nobs_{band}"],
    )
    size = len(search.thresholds) + 1
    for table in tables:
        fates, known = population.classify(table)
        search.fates += np.bincount(fates, minlength=len(FATES))
        eligible = table["p"].notna().to_numpy() & (fates != FATES.index("flagged"))
        intervals = np.searchsorted(search.thresholds, table["p"].to_numpy(np.float32), "right")
        search.searched += np.bincount(intervals[eligible], minlength=size)
        search.known += np.bincount(intervals[eligible & known], minlength=size)
        if to_sky is None:
            search.sky += np.nan
        else:
            weights = to_sky(table["p"].to_numpy()[eligible])
            search.sky += np.bincount(intervals[eligible], weights, minlength=size)
        random = fates == FATES.index("random")
        rows, passes = table[random], cuts.passes(table[random]).astype(int)
        for group, values in _groups(rows, band, population).items():
            search.random.add(group, values, intervals[random])
            search.at_cuts.add(group, values, passes)
        if cuts.per and population.knows_training:
            unseen = ~population.in_training_bricks(rows["brick"])
            names = rows.loc[unseen, [*cuts.per]].agg(" ".join, axis=1).astype(object)
            search.at_cuts.add("cut", pd.Categorical(names), passes[unseen])
    return search


def _drop_repeated(scores: pd.DataFrame, search: Search) -> pd.DataFrame:
    """Drop rows that repeat a galaxy, and count them."""
    repeated = scores["id"].duplicated()
    search.fates[FATES.index("listed twice")] += int(repeated.sum())
    return scores[~repeated]


def _groups(rows: pd.DataFrame, band: str, population: RandomGalaxies) -> dict[str, pd.Categorical]:
    """Properties by which random galaxies are counted: group -> value of each galaxy."""
    groups = {"all": pd.Categorical.from_codes(np.zeros(len(rows), int), ["all"])}
    groups |= {name: pd.Categorical(rows[name].astype(object)) for name in ("type", "region")}
    if population.knows_training:
        codes = population.in_training_bricks(rows["brick"]).astype(int)
        groups["bricks"] = pd.Categorical.from_codes(codes, ["never trained on", "trained on"])
    for group, column in (("exposures", f"nobs_{band}"), ("magnitude", f"mag_{band}")):
        groups[group] = _in_bins(
            rows[column].to_numpy(np.float64), PROPERTY_BINS[_INTERVALS[group]]
        )
    return groups


def _in_bins(values: np.ndarray, edges: Sequence[float]) -> pd.Categorical:
    """Sort values into bins, of which the last two are open and for unknown values."""
    labels = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    labels = [f"below {edges[1]:g}", *labels[1:-1], f"{edges[-2]:g} and more", "unknown"]
    codes = np.searchsorted(edges[1:-1], values, "right")
    codes[np.isnan(values)] = len(labels) - 1
    return pd.Categorical.from_codes(codes, labels)
