"""What a sweep found: a table of its trials, the best one's settings, and a figure."""

import json

import pandas as pd
import yaml

from lenspipe.products.files import read_json
from lenspipe.products.tables import read_table, write_table
from lenspipe.statistics.metrics import auc, completeness_at_fpr, completeness_interval
from lenspipe.training.sweep.merit import check_rate
from lenspipe.training.sweep.plan import check_sweep, name_of_trial, of_trial
from lenspipe.training.sweep.plots import draw_sweep
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["summarise_sweep"]

#: Columns that are whole numbers or empty.
_WHOLE = ["rank", "kept_epoch", "epochs", "parameters"]

_AS_THEY_ARE = ("val_loss", "kept_epoch", "epochs", "seconds", "parameters", "name", "reason")


def summarise_sweep(settings):
    """Compare the trials of a sweep.

    The best has the highest completeness at ``sweep.fpr`` on the validation split, among equal ones
    the largest area under the ROC curve, then the lowest loss. Only trials that came to their end
    compete. Writes ``sweep/sweep.csv``, a row per trial; ``sweep/sweep.png``; and
    ``sweep/best.yaml``, a section training.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the run.

    Returns
    -------
    pandas.DataFrame
        The table, columns as in docs/outputs.md.

    Raises
    ------
    LenspipeError
        Nothing is swept, a trial is missing, none was trained to its end, or the validation split
        can't measure the false-positive rate.
    """
    check_sweep(settings)
    numbers = range(settings.sweep.n_trials)
    entries, scores = zip(*(_read(settings, number) for number in numbers), strict=True)
    done = [k for k in numbers if entries[k]["status"] == "done"]
    if not done:
        raise LenspipeError(
            f"sweep: found no trial that came to its end among {len(numbers)}; the first, "
            f"{entries[0]['name']}, {entries[0]['status']}: {entries[0]['reason']}"
        )
    check_rate(settings, len(scores[done[0]][1]))
    table = pd.DataFrame([_row(settings, *pair) for pair in zip(entries, scores, strict=True)])
    order = table[table["status"] == "done"].sort_values(
        ["completeness", "val_auc", "val_loss", "trial"], ascending=[False, False, True, True]
    )
    table.insert(2, "rank", pd.Series(range(1, len(order) + 1), order.index))
    table = table.astype(dict.fromkeys(_WHOLE, "Int64"))
    best = order.iloc[0]
    paths = settings.paths
    write_table(paths.sweep("sweep.csv"), table)
    chosen = [entry["settings"] for entry in entries]
    lenses, others = scores[done[0]]
    draw_sweep(
        settings.sweep, table, chosen, f"{len(lenses)} lenses and {len(others)} others",
        paths.sweep("sweep.png"),
    )  # fmt: skip
    words = (
        f"trial {best['trial']:03d} of {len(numbers)}: completeness {best['completeness']:.3f} "
        f"({best['low']:.3f} to {best['high']:.3f}) at a false-positive rate of "
        f"{settings.sweep.fpr:g}, AUC {best['val_auc']:.4f}, on the validation split"
    )
    training = of_trial(settings, best["trial"], chosen[best["trial"]]).training
    section = training.model_dump(mode="json")
    section |= {"name": settings.training.name, "refit": settings.training.refit}
    with atomic(paths.sweep("best.yaml")) as temporary:
        text = yaml.safe_dump({"training": section}, sort_keys=False)
        temporary.write_text(f"# {words}.\n{text}")
    log.info("best: %s", words)
    alike = int((order["completeness"] >= best["low"]).sum()) - 1
    log.info("completeness of %d other trials is within its interval", alike)
    return table


def _read(settings, number):
    """What a trial left: content of trial.json, and scores of lenses and others."""
    name = name_of_trial(settings, number)
    entry = read_json(settings.paths.model(name, "trial.json"), "trial")
    scores = read_table(settings.paths.model(name, "validation.parquet"), "trial_scores")
    return entry, tuple(scores.loc[scores["label"] == label, "p"].to_numpy() for label in (1, 0))


def _row(settings, entry, scores):
    """A trial's row of the table; its settings carry `training.`, as `epochs` is two things."""
    fpr = settings.sweep.fpr
    low, high = completeness_interval(*scores, fpr)
    return {
        "trial": entry["trial"],
        "status": entry["status"],
        **{
            f"training.{key}": value if isinstance(value, int | float | str) else json.dumps(value)
            for key, value in entry["settings"].items()
        },
        "completeness": completeness_at_fpr(*scores, fpr)[0],
        "low": low,
        "high": high,
        "val_auc": auc(*scores),
        **{key: entry[key] for key in _AS_THEY_ARE},
    }
