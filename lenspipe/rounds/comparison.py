"""Two networks compared on the same held-out sky."""

import functools
from pathlib import Path
from typing import Any

import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.evaluation.predictions import predict_splits
from lenspipe.products.tables import read_table
from lenspipe.scoring.backends.choose import Backend, open_backend
from lenspipe.scoring.score import load_model_for_run
from lenspipe.statistics.gain import measure_gain
from lenspipe.statistics.intervals import name_interval
from lenspipe.statistics.metrics import completeness_at_true_rate

__all__ = ["compare_networks", "measure_recovery_of_both"]


def compare_networks(before: Path, settings: Settings) -> dict[str, Any] | None:
    """Compare a network with that of a run on the held-out galaxies of the run's sample.

    The splits of the sky are the same in all rounds, so that neither network has seen any of these.

    Parameters
    ----------
    before
        Model file of the other network.
    settings
        Of the run, whose predictions exist.

    Returns
    -------
    dict or None
        As returned by `measure_recovery_of_both`, and held_out, the split; None without one.
    """
    held_out = settings.held_out
    if held_out is None:
        return None
    paths, name = settings.paths, settings.training.name
    bands, size = settings.survey.bands, settings.cutouts.size

    def open_file(file: str) -> Backend:
        return open_backend(load_model_for_run(file, bands, size), settings.inference)

    score = functools.partial(
        predict_splits, paths, {held_out: str(before)}, open_file, (len(bands), size)
    )
    first = score(settings.inference.batch_size, before.parent.name)
    second = read_table(paths.model(name, "predictions.parquet"), "predictions")
    both = second[second["split"] == held_out].merge(
        first[["id", "p"]], on="id", suffixes=("", "_before"), validate="1:1"
    )
    rate = settings.round.false_positive_rate
    return {"held_out": held_out} | measure_recovery_of_both(both, rate, settings.seed)


def measure_recovery_of_both(both: pd.DataFrame, rate: float, seed: int) -> dict[str, Any]:
    """Recovery of lenses by two networks at a false-positive rate, and its gain.

    Parameters
    ----------
    both
        Columns label, p_before and p.

    Returns
    -------
    dict
        n_lenses, n_nonlenses, false_positive_rate; recovery_before, recovery_after, gain and
        gain_auc with 95 % intervals, None where they cannot be measured.
    """
    lens = both["label"] > 0.5
    lenses, nonlenses = both[lens], both[~lens]
    result: dict[str, Any] = {
        "n_lenses": len(lenses),
        "n_nonlenses": len(nonlenses),
        "false_positive_rate": rate,
    }
    for name, column in (("before", "p_before"), ("after", "p")):
        recovery = completeness_at_true_rate(lenses[column], nonlenses[column], rate)
        result |= name_interval(f"recovery_{name}", recovery)
    columns = ["p_before", "p"]
    gain = measure_gain(
        lenses[columns].to_numpy(), nonlenses[columns].to_numpy(), {"round": rate}, seed
    )
    for end in ("", "_low", "_high"):
        result[f"gain{end}"] = gain[f"completeness_fpr_round{end}"]
        result[f"gain_auc{end}"] = gain[f"auc{end}"]
    return result
