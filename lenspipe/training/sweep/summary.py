"""Results of a sweep: a table of its trials, the settings of the best one, and a figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lenspipe.config.settings import Settings
from lenspipe.products.files import read_json
from lenspipe.products.tables import read_table, write_table
from lenspipe.statistics.metrics import auc, completeness_at_true_rate
from lenspipe.training.sweep.merit import check_fpr
from lenspipe.training.sweep.plan import check_sweep, trial_name, trial_settings
from lenspipe.training.sweep.plots import plot_sweep
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["summarise_sweep"]

#: Columns that are integers or empty.
_INTEGERS = ["rank", "kept_epoch", "epochs", "parameters"]

_COPIED = ("val_loss", "kept_epoch", "epochs", "seconds", "parameters", "name", "reason")


def summarise_sweep(settings: Settings) -> pd.DataFrame:
    """Compare the trials of a sweep.

    The best has the highest completeness at ``sweep.fpr`` on the validation split; ties are broken
    by the largest area under the ROC curve, then the lowest loss. Only completed trials are ranked.
    Writes ``sweep/sweep.csv``, a row per trial; ``sweep/sweep.png``; and ``sweep/best.yaml``, a
    section training. Return the table.

    Raises
    ------
    LenspipeError
        Nothing is swept, a trial is missing, none was completed, or the validation split can't
        measure the false-positive rate.
    """
    check_sweep(settings)
    sweep, paths = settings.sweep, settings.paths
    numbers = range(sweep.n_trials)
    folders = [paths.model(trial_name(settings, number)).parent for number in numbers]
    entries, scores = zip(*(_read_trial(folder) for folder in folders), strict=True)
    done = [k for k in numbers if entries[k]["status"] == "done"]
    if not done:
        raise LenspipeError(
            f"sweep: found no trial that was completed among {len(numbers)}; the first, "
            f"{entries[0]['name']}, {entries[0]['status']}: {entries[0]['reason']}"
        )
    lenses, nonlenses = scores[done[0]]
    check_fpr(sweep.fpr, len(nonlenses))
    table = pd.DataFrame(
        [
            _row(entry, of_lenses, of_nonlenses, sweep.fpr)
            for entry, (of_lenses, of_nonlenses) in zip(entries, scores, strict=True)
        ]
    )
    order = table[table["status"] == "done"].sort_values(
        ["completeness", "val_auc", "val_loss", "trial"], ascending=[False, False, True, True]
    )
    table.insert(2, "rank", pd.Series(range(1, len(order) + 1), order.index))
    table = table.astype(dict.fromkeys(_INTEGERS, "Int64"))
    best = order.iloc[0]
    write_table(paths.sweep("sweep.csv"), table)
    values = [entry["settings"] for entry in entries]
    sample = f"{len(lenses)} lenses and {len(nonlenses)} non-lenses"
    plot_sweep(sweep, table, values, sample, paths.sweep("sweep.png"))
    result = (
        f"trial {best['trial']:03d} of {len(numbers)}: completeness {best['completeness']:.3f} "
        f"({best['low']:.3f} to {best['high']:.3f}) at a false-positive rate of "
        f"{sweep.fpr:g}, AUC {best['val_auc']:.4f}, on the validation split"
    )
    training = trial_settings(settings, best["trial"], values[best["trial"]]).training
    section = training.model_dump(mode="json")
    section |= {"name": settings.training.name, "refit": settings.training.refit}
    with atomic(paths.sweep("best.yaml")) as temporary:
        text = yaml.safe_dump({"training": section}, sort_keys=False)
        temporary.write_text(f"# {result}.\n{text}")
    log.info("best: %s", result)
    alike = int((order["completeness"] >= best["low"]).sum()) - 1
    log.info("completeness of %d other trials is within its interval", alike)
    return table


def _read_trial(folder: Path) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    entry = read_json(folder / "trial.json", "trial")
    table = read_table(folder / "validation.parquet", "trial_scores")
    lenses, nonlenses = (table.loc[table["label"] == label, "p"].to_numpy() for label in (1, 0))
    return entry, (lenses, nonlenses)


def _row(
    entry: dict[str, Any], lenses: np.ndarray, nonlenses: np.ndarray, fpr: float
) -> dict[str, Any]:
    """A trial's row of the table.

    Columns of its settings begin with ``training.``, as `epochs` is also the number it trained.
    """
    completeness, low, high = completeness_at_true_rate(lenses, nonlenses, fpr)
    return {
        "trial": entry["trial"],
        "status": entry["status"],
        **{
            f"training.{key}": value if isinstance(value, int | float | str) else json.dumps(value)
            for key, value in entry["settings"].items()
        },
        "completeness": completeness,
        "low": low,
        "high": high,
        "val_auc": auc(lenses, nonlenses),
        **{key: entry[key] for key in _COPIED},
    }
