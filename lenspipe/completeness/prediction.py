"""Test of the selection function: number of planted lenses found, against its prediction."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.products.scores import Cuts
from lenspipe.products.tables import read_table
from lenspipe.products.truth import read_rows_of_bricks, read_scores_with_truth
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["compare_planted", "read_planted_lenses"]

#: Distance within which another lens would be in the network's view, arcsec: such lenses may be
#: found for the other's arcs, and galaxies near lenses have no lenses injected.
ALONE_ARCSEC = 20.0

#: Bins with equal numbers of lenses: of Einstein radius, and of brightness within each.
N_THETA_E_BINS, N_BRIGHTNESS_BINS = 3, 2


def read_planted_lenses(
    paths: RunPaths, held_out: str | None, cuts: Cuts, reject_flags: Iterable[str]
) -> pd.DataFrame:
    """Read the simulated sky's lenses that were scored in bricks not used for training.

    They have the columns of the parent sample with theta_e_arcsec, arc_snr, arc_mag_g, visible,
    found (bool): at or above the cut of the candidates, without a flag that is rejected; and alone
    (bool): no other lens within `ALONE_ARCSEC`.

    Raises
    ------
    LenspipeError
        There is none, or all bricks were used for training.
    """
    scored = read_scores_with_truth(paths, held_out)
    lenses = scored[scored["lens"]]
    if lenses.empty:
        raise LenspipeError(
            f"{paths.truth}: found no lens among the galaxies scored in bricks not used "
            "for training, expected some to compare with; enlarge config section footprint"
        )
    found = cuts.passes(lenses) & ~has_rejected_flag(lenses["flags"], reject_flags)
    table = lenses[["id", "theta_e_arcsec", "arc_snr", "visible"]].assign(found=found)
    columns = ["id", "ra", "dec", "kind", "primary", "arc_mag_g"]
    truth = read_table(paths.truth, "truth", columns=columns)
    table = table.merge(truth[["id", "arc_mag_g"]].drop_duplicates("id"), on="id")
    parent = read_rows_of_bricks(paths.bricks, paths.parent, "parent", set(lenses["brick"]))
    table = table.merge(parent, on="id", validate="1:1")
    every = truth[(truth["kind"] == "lens") & truth["primary"]]
    sky = Sky(every["ra"], every["dec"], ALONE_ARCSEC)
    rows, entries, _ = sky.pairs(table["ra"], table["dec"])
    other = table["id"].to_numpy()[rows] != every["id"].to_numpy()[entries]
    return table.assign(alone=~np.isin(np.arange(len(table)), rows[other]))


def compare_planted(
    function: SelectionFunction,
    lenses: pd.DataFrame,
    where: str | Path = "planted lenses",
) -> dict[str, Any]:
    """Compare the number of lenses found with its prediction, in total and in six bins.

    Bins have equal numbers of lenses: three of Einstein radius, each in two of brightness. Lenses
    have the quantities' columns and found (bool). Keys are n, expected, low, high (95 %), found,
    inside (bool), of all lenses; n_extrapolated; n_bins, n_bins_inside; bins, a list of the same
    with the range of each quantity.
    """
    theta_e, brightness = (
        lenses[quantity.column].to_numpy() for quantity in function.quantities[:2]
    )
    theta_e_bin = _quantile_bins(theta_e, N_THETA_E_BINS)
    bins = np.zeros(len(lenses), int)
    for i in range(N_THETA_E_BINS):
        in_bin = theta_e_bin == i
        bins[in_bin] = N_BRIGHTNESS_BINS * i + _quantile_bins(brightness[in_bin], N_BRIGHTNESS_BINS)
    predicted = function.predict_number(lenses, by=bins, where=where)
    found = lenses["found"].to_numpy(bool)
    counts = pd.Series(found).groupby(bins).sum()
    result = _comparison(predicted.loc["all"], int(found.sum()))
    extrapolated = function.completeness(lenses, where=where)["extrapolated"]
    result["n_extrapolated"] = int(extrapolated.sum())
    rows = []
    for i, count in counts.items():
        ranges = {
            f"{name}_{end}": float(extreme(values[bins == i]))
            for name, values in (("theta_e", theta_e), ("brightness", brightness))
            for end, extreme in (("low", np.min), ("high", np.max))
        }
        rows.append(ranges | _comparison(predicted.loc[i], int(count)))
    result["n_bins"] = len(rows)
    result["n_bins_inside"] = sum(row["inside"] for row in rows)
    log.info(
        "selection: %d planted lenses: %.1f expected to be found (95 %%: %d to %d), %d found; "
        "%d of %d bins within their interval",
        result["n"], result["expected"], result["low"], result["high"], result["found"],
        result["n_bins_inside"], result["n_bins"],
    )  # fmt: skip
    return result | {"bins": rows}


def _quantile_bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of each value, from 0, of bins with equal numbers of values."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return order * n_bins // max(len(values), 1)


def _comparison(predicted: pd.Series, found: int) -> dict[str, Any]:
    low, high = int(predicted["low"]), int(predicted["high"])
    return {
        "n": int(predicted["n"]),
        "expected": float(predicted["expected"]),
        "low": low,
        "high": high,
        "found": found,
        "inside": low <= found <= high,
    }
