"""Whether the labelled sample's lenses and non-lenses were observed under the same conditions.

A network can learn to recognise depth or seeing instead of lenses. Non-lenses are therefore drawn
bin by bin (`lenspipe.sample.matched_draw`; Storfer et al. 2022, arXiv:2206.02764); this module
tests the result.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.progress import log

__all__ = [
    "OBSERVING_CONDITIONS",
    "QUANTITIES",
    "compare_classes",
    "compare_quantities",
    "quantity_values",
]

#: Quantity -> prefix of its columns. All are compared.
QUANTITIES = {"magnitude": "mag", "depth": "galdepth", "seeing": "psfsize", "exposures": "nobs"}

#: The quantities in which the classes should not differ.
OBSERVING_CONDITIONS = ("depth", "seeing", "exposures")

#: Probability that any quantity of a fair sample is reported to differ.
_LEVEL = 0.01

_DRAWS = 9999

#: Maximum number of values at which distributions are compared, plus one.
_CUTS = 50


def compare_classes(
    values: ArrayLike,
    lens: ArrayLike,
    stratum: ArrayLike,
    brick: ArrayLike,
    rng: np.random.Generator,
) -> tuple[float, float, int]:
    """Test whether lenses and non-lenses have the same distribution of a quantity within strata.

    The statistic is that of Kolmogorov and Smirnov, the largest distance between two cumulative
    distributions (at up to 49 quantiles), averaged over strata with weights n p (1 - p), where p is
    the fraction of lenses among the n galaxies. Its null distribution comes from a multiplier
    bootstrap of sums over bricks (Kline & Santos 2012, J. Econom. Methods 1, 23; of processes:
    Kosorok 2003, J. Multivariate Anal. 84, 299): the contribution of each brick is multiplied by a
    standard normal number. Return the distance, from 0 to 1; the probability p of at least this
    distance under the null hypothesis, not below 1e-4; and the number of bricks that contribute: p
    is not below that of the square root of this number of standard deviations.

    Parameters
    ----------
    values
        The quantity, shape (N,), finite; it may be discrete.
    lens
        bool; both classes occur in at least one stratum.
    stratum, brick
        Labels. If the classes do not differ, all galaxies of a stratum have the same probability of
        being a lens.

    Notes
    -----
    Galaxies of a brick share depth and seeing, and lists of lenses or of confusing galaxies cover
    some bricks better than others. Then galaxies are not independent, and neither the usual p of
    Kolmogorov and Smirnov nor a permutation of labels within strata is valid: where the rate of
    lenses scatters by a factor e between bricks, both find p < 0.05 in half of all fair samples.
    """
    values, lens = np.asarray(values, float), np.asarray(lens, float)
    strata, bricks = (pd.factorize(np.asarray(labels))[0] for labels in (stratum, brick))
    sizes = np.bincount(strata)

    def centred(x: np.ndarray) -> np.ndarray:
        return x - (np.bincount(strata, x) / sizes)[strata]

    excess = centred(lens)
    cuts = np.unique(np.quantile(values, np.arange(1, _CUTS) / _CUTS, method="inverted_cdf"))
    sums = np.array(
        [np.bincount(bricks, excess * centred((values <= cut).astype(float))) for cut in cuts]
    )
    observed = np.abs(sums.sum(axis=1)).max()
    # The covariance of sums over bricks of their contributions times standard normal numbers.
    eigenvalues, axes = np.linalg.eigh(sums @ sums.T)
    root = axes * np.sqrt(np.maximum(eigenvalues, 0))
    bootstrap = np.abs(rng.standard_normal((_DRAWS, len(cuts))) @ root.T).max(axis=1)
    # Values that differ by rounding errors only count as equal: p is 1 where nothing can differ.
    p = (1 + (bootstrap >= observed - 1e-9 * len(lens)).sum()) / (1 + _DRAWS)
    n_bricks = int((np.abs(sums) > 1e-9).any(axis=0).sum())
    return float(observed / (excess @ lens)), float(p), n_bricks


def quantity_values(table: pd.DataFrame, name: str, band: str, zero_point_mag: float) -> np.ndarray:
    """Return one of `QUANTITIES` (AB mag, arcsec or exposures; NaN where unknown) as float64.

    Depth is the magnitude of a small galaxy detected at five standard deviations of its flux
    (https://www.legacysurvey.org/dr9/catalogs/).
    """
    values = table[f"{QUANTITIES[name]}_{band}"].to_numpy(np.float64)
    if name == "depth":
        fluxes = 5 / np.sqrt(np.where(values > 0, values, np.nan))
        values = to_magnitude(fluxes, zero_point_mag)
    return np.where(np.isfinite(values), values, np.nan)


def compare_quantities(
    table: pd.DataFrame, bands: Sequence[str], zero_point_mag: float, rng: np.random.Generator
) -> tuple[float, list[dict]]:
    """Compare lenses and non-lenses in each quantity and band, with a log line for each.

    Observing conditions differ where p < 0.01 divided by their number (Bonferroni).

    Parameters
    ----------
    table
        The sample without injected lenses.
    bands
        Exposures in the last one are compared within splits, all else within bins of splits.
    zero_point_mag
        Of the survey's release.

    Returns
    -------
    level : float
        The p below which a quantity differs.
    quantities : list of dict
        Quantity, band, n_lenses, n_others (non-lenses); mean_lenses, mean_others and the results of
        `compare_classes`, None where the quantity is unknown; verdict: ``alike``, ``differ``, ``too
        few bricks``, ``unknown``, or ``not judged`` for quantities that may differ.
    """
    lens, splits, bricks = table["label"].to_numpy() > 0.5, table["split"], table["brick"]
    bins = splits + " " + table["bin"]
    compared = []
    for name in QUANTITIES:
        for band in bands:
            values = quantity_values(table, name, band, zero_point_mag)
            known = np.isfinite(values)
            # The bins fix these: tested is whether there were enough galaxies to fill them.
            strata = splits if (name, band) == ("exposures", bands[-1]) else bins
            entry = {"quantity": name, "band": band}
            compared.append(
                entry | _compare(values[known], lens[known], strata[known], bricks[known], rng)
            )
    number = sum(
        entry["quantity"] in OBSERVING_CONDITIONS and entry["p"] is not None for entry in compared
    )
    level = _LEVEL / max(number, 1)
    for entry in compared:
        entry["verdict"] = _verdict(entry, level)
        _log_comparison(entry)
    return level, compared


def _compare(
    values: np.ndarray,
    lens: np.ndarray,
    stratum: pd.Series,
    brick: pd.Series,
    rng: np.random.Generator,
) -> dict:
    results: dict = dict.fromkeys(("mean_lenses", "mean_others", "distance", "p", "n_bricks"))
    if pd.Series(lens).groupby(stratum).nunique().eq(2).any():
        means = values[lens].mean(), values[~lens].mean()
        test = compare_classes(values, lens, stratum, brick, rng)
        results = dict(zip(results, [*map(float, means), *test], strict=True))
    return {"n_lenses": int(lens.sum()), "n_others": int((~lens).sum())} | results


def _verdict(entry: dict, level: float) -> str:
    if entry["p"] is None:
        return "unknown"
    if entry["quantity"] not in OBSERVING_CONDITIONS:
        return "not judged"
    if entry["p"] < level:
        return "differ"
    # A sum of n numbers is at most sqrt(n) times the root of the sum of their squares.
    min_p = 2 * ndtr(-np.sqrt(entry["n_bricks"]))
    return "too few bricks" if entry["distance"] > 0 and min_p >= level else "alike"


def _log_comparison(entry: dict) -> None:
    name = f"{entry['quantity']} {entry['band']}"
    if entry["p"] is None:
        log.info("sample: %s: unknown", name)
    else:
        log.info(
            "sample: %s: lenses %.2f, non-lenses %.2f, p %.2g: %s",
            name, entry["mean_lenses"], entry["mean_others"], entry["p"], entry["verdict"],
        )  # fmt: skip
