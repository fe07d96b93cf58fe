"""Whether the labelled sample's lenses and non-lenses are alike in what should not tell them apart.

A network can learn depth or seeing as well as lenses. Non-lenses are therefore drawn bin by bin
(`lenspipe.sample.fair_draw`; Storfer et al. 2022, arXiv:2206.02764); here is tested what came of
it.
"""

import numpy as np
import pandas as pd
from scipy.special import ndtr

from lenspipe.utils.progress import log

__all__ = ["JUDGED", "QUANTITIES", "compare_classes", "compare_quantities", "values_of"]

#: Quantity -> prefix of its columns. All are compared.
QUANTITIES = {"magnitude": "mag", "depth": "galdepth", "seeing": "psfsize", "exposures": "nobs"}

#: Those in which the classes should be alike.
JUDGED = ("depth", "seeing", "exposures")

#: Chance that any quantity of a fair sample is said to differ.
_LEVEL = 0.01

_DRAWS = 9999

#: Most values at which distributions are compared, plus one.
_CUTS = 50


def compare_classes(values, lens, stratum, brick, rng):
    """Test whether lenses and non-lenses have the same distribution of a quantity within strata.

    The statistic is that of Kolmogorov and Smirnov, the largest distance between two cumulative
    distributions (at up to 49 quantiles), averaged over strata with weights n p (1 - p), n galaxies
    of which the part p are lenses. Its distribution by chance comes from a multiplier bootstrap of
    sums over bricks (Kline & Santos 2012, J. Econom. Methods 1, 23; of processes: Kosorok 2003,
    J. Multivariate Anal. 84, 299): what each brick adds is multiplied by a standard normal number.

    Parameters
    ----------
    values : array_like of float, shape (N,)
        The quantity, finite; it may be discrete.
    lens : array_like of bool, shape (N,)
        Both classes occur in a stratum.
    stratum, brick : array_like, shape (N,)
        Labels; within a stratum all have the same chance to be a lens, unless the classes differ.
    rng : numpy.random.Generator

    Returns
    -------
    distance : float
        From 0 to 1.
    p : float
        Chance of at least this distance if only chance is at work; not below 1e-4.
    n_bricks : int
        How many bricks add anything; p isn't below that of sqrt(n_bricks) standard deviations.

    Notes
    -----
    Galaxies of a brick share depth and seeing, and lists of lenses or of confusing galaxies cover
    some bricks better than others. Then galaxies are not independent, and neither the usual p of
    Kolmogorov and Smirnov nor a shuffling of labels within strata is right: where the rate of
    lenses scatters by a factor e between bricks, both find p < 0.05 in half of all fair samples.
    """
    values, lens = np.asarray(values, float), np.asarray(lens, float)
    stratum, brick = (pd.factorize(np.asarray(labels))[0] for labels in (stratum, brick))
    sizes = np.bincount(stratum)

    def centred(x):
        return x - (np.bincount(stratum, x) / sizes)[stratum]

    excess = centred(lens)
    cuts = np.unique(np.quantile(values, np.arange(1, _CUTS) / _CUTS, method="inverted_cdf"))
    parts = np.array(
        [np.bincount(brick, excess * centred((values <= cut).astype(float))) for cut in cuts]
    )
    observed = np.abs(parts.sum(axis=1)).max()
    # Sums over bricks of normal numbers times their parts have this covariance.
    size, axes = np.linalg.eigh(parts @ parts.T)
    root = axes * np.sqrt(np.maximum(size, 0))
    chance = np.abs(rng.standard_normal((_DRAWS, len(cuts))) @ root.T).max(axis=1)
    # Equal but for rounding is equal: where nothing differs and nothing could, p is 1.
    p = (1 + (chance >= observed - 1e-9 * len(lens)).sum()) / (1 + _DRAWS)
    n_bricks = int((np.abs(parts) > 1e-9).any(axis=0).sum())
    return float(observed / (excess @ lens)), float(p), n_bricks


def values_of(table, name, band):
    """Return a quantity of each galaxy.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns of the sample.
    name : str
        One of `QUANTITIES`. Depth is the magnitude of a small galaxy at five standard deviations
        of its flux (https://www.legacysurvey.org/dr9/catalogs/).
    band : str

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        AB magnitudes, arcsec or exposures; NaN where unknown.
    """
    values = table[f"{QUANTITIES[name]}_{band}"].to_numpy(np.float64)
    if name == "depth":
        values = 22.5 - 2.5 * np.log10(5 / np.sqrt(np.where(values > 0, values, np.nan)))
    return np.where(np.isfinite(values), values, np.nan)


def compare_quantities(table, bands, rng):
    """Compare lenses and non-lenses in each quantity and band, with a line in the log for each.

    Those that should be alike differ where p < 0.01 over their number (Bonferroni).

    Parameters
    ----------
    table : pandas.DataFrame
        The sample without injected lenses.
    bands : sequence of str
        Exposures in the last one are compared within splits, all else within bins of splits.
    rng : numpy.random.Generator

    Returns
    -------
    level : float
        The p below which a quantity differs.
    quantities : list of dict
        Quantity, band, n_lenses, n_others; mean_lenses, mean_others and what `compare_classes`
        returns, None where the quantity is unknown; verdict: ``alike``, ``differ``, ``too few
        bricks``, ``unknown``, or ``not judged`` where they need not be alike.
    """
    lens, splits, bricks = table["label"].to_numpy() > 0.5, table["split"], table["brick"]
    bins = splits + " " + table["bin"]
    compared = []
    for name in QUANTITIES:
        for band in bands:
            values = values_of(table, name, band)
            known = np.isfinite(values)
            # Bins fix these: what is tested is whether there were galaxies enough to fill them.
            strata = splits if (name, band) == ("exposures", bands[-1]) else bins
            labels = (labels[known] for labels in (lens, strata, bricks))
            entry = {"quantity": name, "band": band}
            compared.append(entry | _compare(values[known], *labels, rng))
    number = sum(entry["quantity"] in JUDGED and entry["p"] is not None for entry in compared)
    level = _LEVEL / max(number, 1)
    for entry in compared:
        entry["verdict"] = _judge(entry, level)
        _say(entry)
    return level, compared


def _compare(values, lens, stratum, brick, rng):
    found = dict.fromkeys(("mean_lenses", "mean_others", "distance", "p", "n_bricks"))
    if pd.Series(lens).groupby(stratum).nunique().eq(2).any():
        means = values[lens].mean(), values[~lens].mean()
        test = compare_classes(values, lens, stratum, brick, rng)
        found = dict(zip(found, [*map(float, means), *test], strict=True))
    return {"n_lenses": int(lens.sum()), "n_others": int((~lens).sum())} | found


def _judge(entry, level):
    if entry["p"] is None:
        return "unknown"
    if entry["quantity"] not in JUDGED:
        return "not judged"
    if entry["p"] < level:
        return "differ"
    # A sum of n parts is at most sqrt(n) times the root of the sum of their squares.
    least = 2 * ndtr(-np.sqrt(entry["n_bricks"]))
    return "too few bricks" if entry["distance"] > 0 and least >= level else "alike"


def _say(entry):
    name = f"{entry['quantity']} {entry['band']}"
    if entry["p"] is None:
        log.info("sample: %s: unknown", name)
    else:
        log.info(
            "sample: %s: lenses %.2f, others %.2f, p %.2g: %s",
            name, entry["mean_lenses"], entry["mean_others"], entry["p"], entry["verdict"],
        )  # fmt: skip
