"""Metrics of how well scores separate the lenses and non-lenses of a split."""

import itertools

import numpy as np
import pandas as pd

from lenspipe.config.training import Evaluation
from lenspipe.statistics.calibration import Calibration
from lenspipe.statistics.intervals import (
    Estimate,
    fraction_interval,
    name_interval,
    purity_interval,
)
from lenspipe.statistics.metrics import (
    PROPERTY_BINS,
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
    expected_calibration_error,
)

__all__ = ["FPRS", "measure_split"]

#: False-positive rates at which completeness is given, by their names in the metrics.
FPRS = {f"1e-{power}": 10.0**-power for power in range(1, 6)}

#: The one whose cut is used for bins.
_BINNED_AT = "1e-2"

_METHODS = ("temperature", "isotonic")


def measure_split(
    galaxies: pd.DataFrame,
    calibration: Calibration | None,
    evaluation: Evaluation,
    threshold: float,
    band: str,
) -> dict:
    """Measure a model on the rows of a split of `lenspipe.evaluation.predictions.predict_splits`.

    Keys are those of docs/outputs.md without the split's name; values are None for what can't be
    measured, and all of them where the split is empty. `threshold` is the minimum score of a
    candidate, `band` that of magnitude and exposures.
    """
    lens = galaxies["label"].to_numpy() > 0.5
    p = galaxies["p"].to_numpy()
    lenses, nonlenses, prior = p[lens], p[~lens], evaluation.prior
    bricks = galaxies["brick"].to_numpy()
    area = auc_interval(lenses, nonlenses, (bricks[lens], bricks[~lens]))
    metrics: dict = {"n_lenses": len(lenses), "n_nonlenses": len(nonlenses)}
    metrics |= name_interval("auc", area)
    for name, rate in FPRS.items():
        completeness = completeness_at_true_rate(lenses, nonlenses, rate)
        metrics |= name_interval(f"completeness_fpr_{name}", completeness)
        metrics |= _yield(f"fpr_{name}", completeness, (rate, rate, rate), prior)
    minimum = np.float32(threshold)
    completeness, fpr = (
        fraction_interval(lenses >= minimum),
        fraction_interval(nonlenses >= minimum),
    )
    metrics |= name_interval("completeness_threshold", completeness)
    metrics |= name_interval("fpr_threshold", fpr)
    metrics |= _yield("threshold", completeness, fpr, prior)
    label, bins = galaxies["label"], evaluation.bins
    metrics["ece"] = expected_calibration_error(label, p, bins)
    for method in _METHODS:
        metrics[f"ece_{method}"] = calibration and expected_calibration_error(
            label, calibration.apply(p, method), bins
        )
    _, cut = completeness_at_fpr(lenses, nonlenses, FPRS[_BINNED_AT])
    metrics["binned_at"] = f"fpr_{_BINNED_AT}" if cut is not None else "threshold"
    above = p > cut if cut is not None else p >= minimum
    metrics["by"] = _by_property(galaxies, above, band)
    return metrics if len(galaxies) else dict.fromkeys(metrics)


def _yield(
    name: str, completeness: Estimate, fpr: Estimate, prior: float
) -> dict[str, float | None]:
    """Purity at the prior, and the number of candidates to inspect for each lens."""
    value, low, high = purity_interval(completeness, fpr, prior)
    inspected = [1 / purity if purity else None for purity in (value, high, low)]
    return name_interval(f"purity_{name}", (value, low, high)) | name_interval(
        f"inspect_per_lens_{name}", inspected
    )


def _by_property(galaxies: pd.DataFrame, above: np.ndarray, band: str) -> dict[str, list[dict]]:
    """Completeness and false-positive rate by properties of the galaxies.

    `above` tells which of them count as found. Each property (``type``, ``region``, ``class``,
    ``grade``, ``mag``, ``nobs``, ``theta_e``, ``arc_snr``) has a list of bins, each with its
    ``value``, or ``from`` and ``to`` (None where it is open); ``n_lenses``, ``n_nonlenses``;
    ``completeness`` and ``false_positive_rate`` and their 95 % intervals ``_low`` and ``_high``,
    None without such galaxies.
    """
    lens = galaxies["label"].to_numpy() > 0.5
    bins = {name: _by_value(galaxies[name], lens, above) for name in ("type", "region", "class")}
    # Only graded non-lenses have a grade.
    grade = galaxies["grade"].replace("", "none").where(lens | (galaxies["grade"] != ""))
    bins["grade"] = _by_value(grade, lens, above)
    columns = {"mag": f"mag_{band}", "nobs": f"nobs_{band}"}
    columns |= {"theta_e": "theta_e_arcsec", "arc_snr": "arc_snr"}
    for name, column in columns.items():
        values = galaxies[column].to_numpy(np.float64)
        bins[name] = [
            {"from": low, "to": high if np.isfinite(high) else None}
            | _rates((values >= low) & (values < high), lens, above)
            for low, high in itertools.pairwise(PROPERTY_BINS[name])
        ]
    return bins


def _by_value(values: pd.Series, lens: np.ndarray, above: np.ndarray) -> list[dict]:
    return [
        {"value": str(value)} | _rates((values == value).to_numpy(), lens, above)
        for value in sorted(values.dropna().unique())
    ]


def _rates(inside: np.ndarray, lens: np.ndarray, above: np.ndarray) -> dict:
    lenses, nonlenses = above[inside & lens], above[inside & ~lens]
    return (
        {"n_lenses": len(lenses), "n_nonlenses": len(nonlenses)}
        | name_interval("completeness", fraction_interval(lenses))
        | name_interval("false_positive_rate", fraction_interval(nonlenses))
    )
