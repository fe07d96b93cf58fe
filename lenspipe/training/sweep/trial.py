"""One trial of a sweep: a training with settings of its own, and what came of it."""

import json
import time

import numpy as np
import pandas as pd

from lenspipe.products.record_files import check_shards
from lenspipe.scoring.splits import score_split
from lenspipe.training.backup import Backup
from lenspipe.training.data import count_classes
from lenspipe.training.fitting import train
from lenspipe.training.sweep.merit import check_rate
from lenspipe.training.sweep.plan import check_sweep, of_trial, trials
from lenspipe.training.sweep.proposals import Proposal
from lenspipe.utils.errors import DiskFullError, LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["run_trial"]

#: Files of a trial's model that an earlier training of the same name must not leave to this one.
_OF_MODEL = (
    *("model.keras", "training.json", "history.csv", "history.png", "config.yaml"),
    *("validation.parquet", "not-finite.txt"),
)


class _Pruned(Exception):
    """Optuna breaks off the training."""


class _Watch:
    """Is told of each epoch; breaks off a training that falls behind.

    Attributes
    ----------
    row : dict or None
        The last epoch's row of the history, since this job began.
    lenses, others : ndarray of float
        Its scores of the validation split.
    """

    def __init__(self, epochs, proposal):
        self.epochs, self.proposal = epochs, proposal
        self.row, self.lenses, self.others = None, np.zeros(0), np.zeros(0)

    def __call__(self, row, lenses, others):
        self.row, self.lenses, self.others = row, lenses, others
        if self.proposal is None or row["epoch"] == self.epochs:
            return
        if self.proposal.is_behind(row["epoch"], lenses, others):
            raise _Pruned


def run_trial(settings, number):
    """Train one of a sweep's models.

    Leaves in ``models/<name>_trial_<number>/`` what `lenspipe.training.fitting.train` leaves, the
    scores of the validation split (``validation.parquet``), and last ``trial.json``. A trial whose
    training fails, and one that Optuna breaks off, are ended trials as well, without a model.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the run.
    number : int
        Of the trial, from 0.

    Returns
    -------
    dict
        The content of trial.json.

    Raises
    ------
    LenspipeError
        No trial could be trained: nothing to sweep, a sample without lenses, a false-positive rate
        that it can't measure, a full disk.
    """
    check_sweep(settings)
    # What would fail every trial alike is no result of this one.
    check_rate(settings, count_classes(settings)["validation"][1])
    for split in ("train", "validation"):
        check_shards(settings.paths.records_manifest, split)
    proposal = Proposal(settings, number) if settings.sweep.method == "optuna" else None
    values = proposal.values if proposal else trials(settings)[number]
    own = of_trial(settings, number, values)
    path = lambda file: own.paths.model(own.training.name, file)  # noqa: E731
    for file in _OF_MODEL:
        path(file).unlink(missing_ok=True)
    log.info("trial %03d: %s", number, ", ".join(f"{key} {v}" for key, v in values.items()))
    begin = time.monotonic()
    watch = _Watch(own.training.epochs, proposal)
    notes, status, reason = {}, "done", ""
    lenses, others = np.zeros(0), np.zeros(0)
    try:
        notes = train(own, watch)
        scores = score_split(own, "validation")
        is_lens = scores["label"] == 1
        lenses, others = scores["p"][is_lens], scores["p"][~is_lens]
    except DiskFullError:
        raise
    except _Pruned:
        lenses, others = watch.lenses, watch.others
        notes = {"val_loss": watch.row["val_loss"], "epochs": watch.row["epoch"]}
        status, reason = "pruned", f"behind the others after epoch {watch.row['epoch']}"
    except LenspipeError as error:
        status, reason = "failed", " ".join(str(error).split())
    seconds = round(time.monotonic() - begin, 1)
    content = {
        "trial": number,
        "name": own.training.name,
        "status": status,
        "reason": reason,
        "settings": values,
        **{key: notes.get(key) for key in ("val_loss", "kept_epoch", "epochs", "parameters")},
        "seconds": notes.get("seconds", seconds),
    }
    label = np.repeat([1, 0], [len(lenses), len(others)]).astype(np.int8)
    scores = pd.DataFrame({"label": label, "p": np.concatenate([lenses, others])})
    with atomic(path("validation.parquet")) as temporary:
        scores.astype({"p": np.float32}).to_parquet(temporary, index=False)
    with atomic(path("trial.json")) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    if proposal:
        proposal.close(status, lenses, others)
    if status != "done":
        Backup(path("backup")).remove()
    log.info("trial %03d: %s%s", number, status, f", {reason}" if reason else "")
    return content
