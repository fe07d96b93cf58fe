"""Galaxies of a search counted between thresholds: exact, and in bounded memory."""

import itertools

import numpy as np
import pandas as pd

from lenspipe.evaluation.random_galaxies import FATES
from lenspipe.products.scores import iterate_scores
from lenspipe.statistics.metrics import EDGES, wilson_interval

__all__ = ["Search", "Tally", "above", "count_search", "rate_interval", "thresholds_with"]

#: Thresholds that people quote, beside ten in each factor of ten of the odds p / (1 - p).
_ROUND = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
    *(0.9999, 0.99999, 0.999999),
)

_LOG_ODDS = np.arange(-40, 71) / 10


def thresholds_with(cuts):
    """Thresholds at which everything is counted.

    Parameters
    ----------
    cuts : lenspipe.products.scores.Cuts
        Of the run, which are among them.

    Returns
    -------
    numpy.ndarray of float32, shape (T,)
        Rising; each once.
    """
    odds = 10.0**_LOG_ODDS
    own = [cut for cut in cuts.values.values() if np.isfinite(cut)]
    return np.unique(np.concatenate([odds / (1 + odds), _ROUND, own]).astype(np.float32))


def rate_interval(passed, n):
    """A rate and its 95 % interval.

    Parameters
    ----------
    passed, n : int
        How many of how many.

    Returns
    -------
    tuple of (float or None)
        Rate, low, high: Wilson's interval; where none passes, the exact 95 % upper limit
        1 - 0.05^(1/n), near 3 / n. All None without galaxies.
    """
    if n == 0:
        return None, None, None
    if passed == 0:
        return 0.0, 0.0, float(-np.expm1(np.log(0.05) / n))
    return passed / n, *wilson_interval(passed, n)


class Tally:
    """Counts of galaxies in classes, such as intervals between thresholds, for groups of them.

    Parameters
    ----------
    n_classes : int
    """

    def __init__(self, n_classes):
        self.n_classes = n_classes
        self._counts = {}

    def add(self, group, values, classes):
        """Count more galaxies.

        Parameters
        ----------
        group : str
            What they are divided by.
        values : pandas.Categorical, shape (N,)
            The part that each belongs to.
        classes : array_like of int, shape (N,)
        """
        codes = np.asarray(values.codes, np.int64)
        size = len(values.categories) * self.n_classes
        counts = np.bincount(codes * self.n_classes + classes, minlength=size)
        own = self._counts.setdefault(group, {})
        for value, row in zip(values.categories, counts.reshape(-1, self.n_classes), strict=True):
            own[value] = own.get(value, 0) + row

    def groups(self):
        """Yield group, value and counts (int64, (n_classes,)) of those with a galaxy.

        In the order of groups as they were added first; parts sorted but for intervals.
        """
        for group, parts in self._counts.items():
            for value in parts if group in _INTERVALS else sorted(parts):
                if parts[value].sum():
                    yield group, str(value), parts[value]


#: Group -> the bins of `EDGES` that it has.
_INTERVALS = {"exposures": "nobs", "magnitude": "mag"}


class Search:
    """What a search holds, counted between thresholds.

    Parameters
    ----------
    thresholds : numpy.ndarray of float32, shape (T,)

    Attributes
    ----------
    random, at_cuts : Tally
        Random galaxies by interval, and by whether they pass the run's own cuts.
    searched, known, sky : numpy.ndarray, shape (T + 1,)
        Galaxies that may be candidates in each interval, known lenses among them, and the sum of
        their probabilities on the sky (NaN where these are not known); the first interval is below
        the lowest threshold.
    fates : numpy.ndarray of int, shape (len(FATES),)
        Galaxies of each fate.
    """

    def __init__(self, thresholds):
        self.thresholds = thresholds
        classes = len(thresholds) + 1
        self.random, self.at_cuts = Tally(classes), Tally(2)
        self.searched, self.known = np.zeros((2, classes), np.int64)
        self.sky = np.zeros(classes)
        self.fates = np.zeros(len(FATES), np.int64)


def above(counts):
    """Add up what is at or above each threshold.

    Parameters
    ----------
    counts : numpy.ndarray, shape (T + 1,)
        Of each interval between thresholds, the first below the lowest.

    Returns
    -------
    numpy.ndarray, shape (T,)
    """
    return np.cumsum(counts[::-1])[::-1][1:]


def count_search(settings, cuts, population, to_sky=None):
    """Count the galaxies of a search, chunk by chunk.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    cuts : lenspipe.products.scores.Cuts
    population : lenspipe.evaluation.random_galaxies.RandomGalaxies
    to_sky : callable, optional
        From scores to probabilities on the sky.

    Returns
    -------
    Search

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy.
    """
    band = settings.survey.bands[-1]
    found = Search(thresholds_with(cuts))
    tables = iterate_scores(
        settings.paths,
        "purity",
        ["id", "brick", "region", "ra", "dec", "flags", "p"],
        # What is listed twice is so within its chunk, and has one row in the parent sample.
        of_parent=lambda scores: _once(scores, found),
        parent=["type", f"mag_{band}", f"nobs_{band}"],
    )
    for table in tables:
        fates, known = population.sort(table)
        found.fates += np.bincount(fates, minlength=len(FATES))
        may_be = table["p"].notna().to_numpy() & (fates != FATES.index("flagged"))
        places = np.searchsorted(found.thresholds, table["p"].to_numpy(np.float32), "right")
        size = len(found.thresholds) + 1
        found.searched += np.bincount(places[may_be], minlength=size)
        found.known += np.bincount(places[may_be & known], minlength=size)
        if to_sky is None:
            found.sky += np.nan
        else:
            weights = to_sky(table["p"].to_numpy()[may_be])
            found.sky += np.bincount(places[may_be], weights, minlength=size)
        random = fates == 0
        rows, passes = table[random], cuts.passes(table[random]).astype(int)
        for group, values in _groups(rows, band, population).items():
            found.random.add(group, values, places[random])
            found.at_cuts.add(group, values, passes)
    return found


def _once(scores, found):
    """Scores without rows that repeat a galaxy, which are counted."""
    again = scores["id"].duplicated()
    found.fates[FATES.index("listed twice")] += int(again.sum())
    return scores[~again]


def _groups(rows, band, population):
    """What random galaxies are counted by: group -> the part that each belongs to."""
    groups = {"all": pd.Categorical.from_codes(np.zeros(len(rows), int), ["all"])}
    groups |= {name: pd.Categorical(rows[name].astype(object)) for name in ("type", "region")}
    if population.knows_training:
        codes = population.of_training(rows["brick"]).astype(int)
        groups["bricks"] = pd.Categorical.from_codes(codes, ["never trained on", "trained on"])
    for group, column in (("exposures", f"nobs_{band}"), ("magnitude", f"mag_{band}")):
        groups[group] = _in_bins(rows[column].to_numpy(np.float64), EDGES[_INTERVALS[group]])
    return groups


def _in_bins(values, edges):
    """Values as intervals; the last one is open, and for those that are not known."""
    labels = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    labels = [f"below {edges[1]:g}", *labels[1:-1], f"{edges[-2]:g} and more", "unknown"]
    codes = np.searchsorted(edges[1:-1], values, "right")
    codes[np.isnan(values)] = len(labels) - 1
    return pd.Categorical.from_codes(codes, labels)
