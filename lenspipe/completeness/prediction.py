"""The selection function put to the test: planted lenses it should know the number found of."""

import numpy as np
import pandas as pd

from lenspipe.config.flags import rejected
from lenspipe.products.candidates import read_cuts
from lenspipe.products.truth import read_rows, with_truth
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["compare_planted", "planted_lenses", "predict_planted"]

#: Bins with equal numbers of lenses: of Einstein radius, and of brightness within each.
BINS = (3, 2)


def planted_lenses(settings):
    """Read the simulated sky's lenses that were scored in bricks that training never saw.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Columns of the parent sample with theta_e_arcsec, arc_snr, arc_mag_g and found (bool): at or
        above the cut of the candidates, without a flag that is rejected.

    Raises
    ------
    LenspipeError
        There is none, or training saw every brick.
    """
    scored = with_truth(settings.paths, settings.held_out)
    lenses = scored[scored["lens"]]
    if lenses.empty:
        raise LenspipeError(
            f"{settings.paths.truth}: found no lens among the galaxies scored in bricks that "
            "training never saw, expected some to compare with; enlarge config section footprint"
        )
    cuts = read_cuts(settings.paths.threshold, settings.candidates.threshold)
    found = cuts.passes(lenses) & ~rejected(lenses["flags"], settings)
    own = lenses[["id", "theta_e_arcsec", "arc_snr"]].assign(found=found)
    truth = pd.read_parquet(settings.paths.truth, columns=["id", "arc_mag_g"])
    own = own.merge(truth.drop_duplicates("id"), on="id")
    parent = read_rows(settings.paths.bricks, settings.paths.parent, "parent", set(lenses["brick"]))
    return own.merge(parent, on="id", validate="1:1")


def predict_planted(settings, function):
    """Predict how many planted lenses the search found, and compare.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    function : lenspipe.completeness.selection_function.SelectionFunction

    Returns
    -------
    dict
        As of `compare_planted`.

    Raises
    ------
    LenspipeError
        As of `planted_lenses`.
    """
    lenses = planted_lenses(settings)
    result = compare_planted(function, lenses, settings.paths.truth)
    log.info(
        "selection: of %d planted lenses %.1f (95 %%: %d to %d) expected to be found, %d were; "
        "%d of %d bins inside their interval",
        result["n"], result["expected"], result["low"], result["high"], result["found"],
        result["n_bins_inside"], result["n_bins"],
    )  # fmt: skip
    return result


def compare_planted(function, lenses, where="planted lenses"):
    """Compare the number of lenses found with its prediction, in total and in six bins.

    Bins have equal numbers of lenses: three of Einstein radius, each in two of brightness.

    Parameters
    ----------
    function : lenspipe.completeness.selection_function.SelectionFunction
    lenses : pandas.DataFrame
        The quantities' columns and found (bool).
    where : str
        What the table is called in messages.

    Returns
    -------
    dict
        n, expected, low, high (95 %), found, inside (bool), of all lenses; n_extrapolated; n_bins,
        n_bins_inside; bins, a list of the same with the range of each quantity.
    """
    theta_e, brightness = (
        lenses[quantity.column].to_numpy() for quantity in function.quantities[:2]
    )
    outer = _equal_parts(theta_e, BINS[0])
    bins = np.zeros(len(lenses), int)
    for i in range(BINS[0]):
        within = outer == i
        bins[within] = BINS[1] * i + _equal_parts(brightness[within], BINS[1])
    predicted = function.predict_number(lenses, by=bins, where=where)
    found = lenses["found"].to_numpy(bool)
    counts = pd.Series(found).groupby(bins).sum()
    result = _judged(predicted.loc["all"], int(found.sum()))
    extrapolated = function.completeness(lenses, where=where)["extrapolated"]
    result["n_extrapolated"] = int(extrapolated.sum())
    rows = []
    for i, count in counts.items():
        ranges = {
            f"{name}_{end}": float(of(values[bins == i]))
            for name, values in (("theta_e", theta_e), ("brightness", brightness))
            for end, of in (("low", np.min), ("high", np.max))
        }
        rows.append(ranges | _judged(predicted.loc[i], int(count)))
    result["n_bins"] = len(rows)
    result["n_bins_inside"] = sum(row["inside"] for row in rows)
    return result | {"bins": rows}


def _equal_parts(values, number):
    """Part of each value, from 0, in the order of size."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return order * number // max(len(values), 1)


def _judged(predicted, found):
    """A prediction with what came of it."""
    low, high = int(predicted["low"]), int(predicted["high"])
    return {
        "n": int(predicted["n"]),
        "expected": float(predicted["expected"]),
        "low": low,
        "high": high,
        "found": found,
        "inside": low <= found <= high,
    }
