"""Numbers that say how well scores tell a split's lenses from its other galaxies."""

import itertools

import numpy as np

from lenspipe.statistics.metrics import (
    EDGES,
    auc,
    completeness_at_fpr,
    completeness_interval,
    expected_calibration_error,
    part_interval,
    purity_interval,
)

__all__ = ["FPRS", "binned", "measure"]

#: False-positive rates at which completeness is given, by their names in the metrics.
FPRS = {f"1e-{power}": 10.0**-power for power in range(1, 6)}

#: The one whose cut bins are measured at.
_BINNED_AT = "1e-2"

_METHODS = ("temperature", "isotonic")


def measure(galaxies, calibration, settings):
    """Measure a model on a split.

    Parameters
    ----------
    galaxies : pandas.DataFrame
        The split's rows, as of `lenspipe.evaluation.predictions.predict_splits`.
    calibration : lenspipe.statistics.calibration.Calibration or None
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        Keys as in docs/outputs.md without the split's name; None for what can't be measured, and
        for all where the split is empty.
    """
    lens = galaxies["label"].to_numpy() > 0.5
    p = galaxies["p"].to_numpy()
    lenses, others, prior = p[lens], p[~lens], settings.evaluation.prior
    metrics = {"n_lenses": len(lenses), "n_nonlenses": len(others), "auc": auc(lenses, others)}
    cuts = {}
    for name, fpr in FPRS.items():
        completeness, cuts[name] = completeness_at_fpr(lenses, others, fpr)
        low, high = completeness_interval(lenses, others, fpr)
        metrics |= _with_ends(f"completeness_fpr_{name}", completeness, low, high)
        metrics |= _yield(f"fpr_{name}", (completeness, low, high), (fpr, fpr, fpr), prior)
    threshold = np.float32(settings.candidates.threshold.assumed)
    completeness, fpr = part_interval(lenses >= threshold), part_interval(others >= threshold)
    metrics |= _with_ends("completeness_threshold", *completeness)
    metrics |= _with_ends("fpr_threshold", *fpr)
    metrics |= _yield("threshold", completeness, fpr, prior)
    label, bins = galaxies["label"], settings.evaluation.bins
    metrics["ece"] = expected_calibration_error(label, p, bins)
    for method in _METHODS:
        metrics[f"ece_{method}"] = calibration and expected_calibration_error(
            label, calibration.apply(p, method), bins
        )
    cut = cuts[_BINNED_AT]
    metrics["binned_at"] = f"fpr_{_BINNED_AT}" if cut is not None else "threshold"
    above = p > cut if cut is not None else p >= threshold
    metrics["by"] = binned(galaxies, above, settings.survey.bands[-1])
    return metrics if len(galaxies) else dict.fromkeys(metrics)


def _with_ends(key, value, low, high):
    return {key: value, f"{key}_low": low, f"{key}_high": high}


def _yield(name, completeness, fpr, prior):
    """Purity at the prior, and how many candidates are looked at for each lens among them.

    Completeness and false-positive rate are given with their intervals.
    """
    value, low, high = purity_interval(completeness, fpr, prior)
    inspected = (1 / purity if purity else None for purity in (value, high, low))
    return _with_ends(f"purity_{name}", value, low, high) | _with_ends(
        f"inspect_per_lens_{name}", *inspected
    )


def binned(galaxies, above, band):
    """Completeness and false-positive rate by what is known of galaxies.

    Parameters
    ----------
    galaxies : pandas.DataFrame
        As for `measure`.
    above : array_like of bool, shape (N,)
        Which of them count as found.
    band : str
        Band of magnitude and exposures.

    Returns
    -------
    dict
        Property (``type``, ``region``, ``class``, ``grade``, ``mag``, ``nobs``, ``theta_e``,
        ``arc_snr``) -> list of bins, each with its ``value``, or ``from`` and ``to`` (None where it
        is open); ``n_lenses``, ``n_nonlenses``; ``completeness`` and ``false_positive_rate`` and
        their 95 % intervals ``_low`` and ``_high`` (Wilson), None without such galaxies.
    """
    lens, above = galaxies["label"].to_numpy() > 0.5, np.asarray(above, bool)
    found = {name: _by_value(galaxies[name], lens, above) for name in ("type", "region", "class")}
    # Of non-lenses only those that were graded have a grade.
    grade = galaxies["grade"].replace("", "none").where(lens | (galaxies["grade"] != ""))
    found["grade"] = _by_value(grade, lens, above)
    columns = {"mag": f"mag_{band}", "nobs": f"nobs_{band}"}
    columns |= {"theta_e": "theta_e_arcsec", "arc_snr": "arc_snr"}
    for name, column in columns.items():
        values = galaxies[column].to_numpy(np.float64)
        found[name] = [
            {"from": low, "to": high if np.isfinite(high) else None}
            | _rates((values >= low) & (values < high), lens, above)
            for low, high in itertools.pairwise(EDGES[name])
        ]
    return found


def _by_value(values, lens, above):
    """A bin for each value that occurs."""
    return [
        {"value": str(value)} | _rates((values == value).to_numpy(), lens, above)
        for value in sorted(values.dropna().unique())
    ]


def _rates(inside, lens, above):
    lenses, others = above[inside & lens], above[inside & ~lens]
    return (
        {"n_lenses": len(lenses), "n_nonlenses": len(others)}
        | _with_ends("completeness", *part_interval(lenses))
        | _with_ends("false_positive_rate", *part_interval(others))
    )
