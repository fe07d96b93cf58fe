"""One trial of a sweep: a training with its settings, and the result."""

import time
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.products.files import write_json
from lenspipe.products.record_files import check_shards
from lenspipe.products.tables import write_table
from lenspipe.scoring.backends.choose import Backend, open_backend
from lenspipe.scoring.score import load_model_for_run
from lenspipe.scoring.splits import score_split
from lenspipe.training.backup import Backup
from lenspipe.training.data import count_classes
from lenspipe.training.fitting import train
from lenspipe.training.sweep.merit import check_fpr
from lenspipe.training.sweep.plan import check_sweep, trial_settings, trials
from lenspipe.training.sweep.proposals import Proposal
from lenspipe.utils.errors import DiskFullError, LenspipeError
from lenspipe.utils.progress import log

__all__ = ["run_trial"]

#: Files of a trial's model that must not survive from an earlier training of the same name.
_FILES = (
    *("model.keras", "training.json", "history.csv", "history.png", "config.yaml"),
    *("validation.parquet", "not-finite.txt"),
)


class _Pruned(Exception):
    """Optuna prunes the trial."""


class _Watch:
    """Keeps the last epoch's result, and ends a training that falls behind.

    Attributes
    ----------
    row : dict
        The last epoch's row of the history; empty before the first epoch of this job.
    lenses, nonlenses : ndarray of float
        Scores of the validation split after it.
    """

    def __init__(self, epochs: int, proposal: Proposal | None) -> None:
        self.epochs, self.proposal = epochs, proposal
        self.row: dict[str, Any] = {}
        self.lenses, self.nonlenses = np.zeros(0), np.zeros(0)

    def __call__(self, row: dict[str, Any], lenses: np.ndarray, nonlenses: np.ndarray) -> None:
        self.row, self.lenses, self.nonlenses = row, lenses, nonlenses
        if self.proposal is None or row["epoch"] == self.epochs:
            return
        if self.proposal.should_prune(row["epoch"], lenses, nonlenses):
            raise _Pruned


def run_trial(settings: Settings, number: int) -> dict[str, Any]:
    """Train one of a sweep's models.

    Leaves in ``models/<name>_trial_<number>/`` the files of `lenspipe.training.fitting.train`, the
    scores of the validation split (``validation.parquet``), and finally ``trial.json``. Trials
    whose training fails or that Optuna prunes have ended as well, without a model. Return the
    content of trial.json.

    Raises
    ------
    LenspipeError
        No trial could be trained: nothing to sweep, a sample without lenses, a false-positive rate
        that it can't measure, a full disk.
    """
    check_sweep(settings)
    # Problems that would make every trial fail are no result of this one.
    counts = count_classes(settings.paths.sample, settings.sample.fractions)
    check_fpr(settings.sweep.fpr, counts["validation"][1])
    for split in ("train", "validation"):
        check_shards(settings.paths.records_manifest, split)
    proposal = Proposal(settings, number) if settings.sweep.method == "optuna" else None
    values = proposal.values if proposal else trials(settings)[number]
    assert values is not None
    trial = trial_settings(settings, number, values)
    folder = trial.paths.model(trial.training.name).parent
    for file in _FILES:
        (folder / file).unlink(missing_ok=True)
    log.info("trial %03d: %s", number, ", ".join(f"{key} {v}" for key, v in values.items()))
    begin = time.monotonic()
    watch = _Watch(trial.training.epochs, proposal)
    bands, size, inference = trial.survey.bands, trial.cutouts.size, trial.inference

    def open_model() -> Backend:
        return open_backend(load_model_for_run(folder / "model.keras", bands, size), inference)

    notes: dict[str, Any] = {}
    status, reason = "done", ""
    lenses, nonlenses = np.zeros(0), np.zeros(0)
    try:
        notes = train(trial, watch)
        given = (len(bands), size), inference.batch_size, trial.training.name
        scores = score_split(trial.paths, "validation", open_model, *given)
        assert scores is not None
        is_lens = scores["label"] == 1
        lenses, nonlenses = scores["p"][is_lens], scores["p"][~is_lens]
    except DiskFullError:
        raise
    except _Pruned:
        lenses, nonlenses = watch.lenses, watch.nonlenses
        notes = {"val_loss": watch.row["val_loss"], "epochs": watch.row["epoch"]}
        status, reason = "pruned", f"behind the others after epoch {watch.row['epoch']}"
    except LenspipeError as error:
        status, reason = "failed", " ".join(str(error).split())
    seconds = round(time.monotonic() - begin, 1)
    content = {
        "trial": number,
        "name": trial.training.name,
        "status": status,
        "reason": reason,
        "settings": values,
        **{key: notes.get(key) for key in ("val_loss", "kept_epoch", "epochs", "parameters")},
        "seconds": notes.get("seconds", seconds),
    }
    label = np.repeat([1, 0], [len(lenses), len(nonlenses)]).astype(np.int8)
    scores = pd.DataFrame({"label": label, "p": np.concatenate([lenses, nonlenses])})
    write_table(folder / "validation.parquet", scores.astype({"p": np.float32}))
    write_json(folder / "trial.json", content)
    if proposal:
        proposal.close(status, lenses, nonlenses)
    if status != "done":
        Backup(folder / "backup").remove()
    log.info("trial %03d: %s%s", number, status, f", {reason}" if reason else "")
    return content
