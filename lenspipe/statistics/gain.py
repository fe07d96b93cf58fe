"""Gain of one model over another on the same galaxies."""

from collections.abc import Mapping

import numpy as np

from lenspipe.statistics.metrics import auc, completeness_at_fpr

__all__ = ["measure_gain"]

_RESAMPLED = 1000


def measure_gain(
    lenses: np.ndarray, nonlenses: np.ndarray, rates: Mapping[str, float], seed: int
) -> dict[str, float | None]:
    """Differences of the second model from the first, with 95 % intervals.

    Bootstrap (Efron 1979, Ann. Stat. 7, 1) with the same galaxies for both models: galaxies that
    both find or miss do not widen the interval.

    Parameters
    ----------
    lenses, nonlenses
        Scores of both models, (N, 2).
    rates
        Name -> false-positive rate at which completeness is compared.

    Returns
    -------
    dict
        ``auc`` and ``completeness_fpr_<name>``, each also with ``_low`` and ``_high``; None where
        it cannot be measured.
    """
    gains = _differences(lenses, nonlenses, rates)
    rng = np.random.default_rng(seed)
    resampled = []
    if len(lenses) and len(nonlenses):
        for _ in range(_RESAMPLED):
            first, second = (rng.choice(each, len(each)) for each in (lenses, nonlenses))
            resampled.append(_differences(first, second, rates))
    result: dict[str, float | None] = {}
    for key, value in gains.items():
        low, high = (None, None)
        if value is not None:
            low, high = np.quantile([row[key] for row in resampled], [0.025, 0.975]).tolist()
        result |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return result


def _differences(
    lenses: np.ndarray, nonlenses: np.ndarray, rates: Mapping[str, float]
) -> dict[str, float | None]:
    pairs = {"auc": [auc(*columns) for columns in zip(lenses.T, nonlenses.T, strict=True)]}
    for name, rate in rates.items():
        pairs[f"completeness_fpr_{name}"] = [
            completeness_at_fpr(*columns, rate)[0]
            for columns in zip(lenses.T, nonlenses.T, strict=True)
        ]
    return {
        key: None if first is None or second is None else second - first
        for key, (first, second) in pairs.items()
    }
