"""Trials whose settings Optuna proposes, and which it prunes when they fall behind.

Optuna is an optional dependency, so it is imported only when a proposal is made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.config.training import Range
from lenspipe.products.files import write_json
from lenspipe.training.results import sample_hashes
from lenspipe.training.sweep.merit import merit
from lenspipe.training.sweep.plan import trial_name, validated_values
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import read_kept, room_to_write
from lenspipe.utils.progress import log

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["Proposal"]

#: Number of trials that have to end before any is pruned.
_STARTUP_TRIALS = 4

#: Fraction of the epochs in which no trial is pruned.
_WARMUP = 0.25


class Proposal:
    """Settings that Optuna proposes for a trial, and the reports on it to Optuna.

    All trials share a study, in a journal that several machines may write to. Other settings or
    another sample make a new study, since results would not be comparable. The proposed values are
    kept beside the model, so a killed trial resumes with them, as the same trial of the study. If
    the journal was deleted, or the trial ended and is run again, it becomes a new trial of the
    study with the same values. Trials count from 0.

    Attributes
    ----------
    values : dict
        Key of section training -> value.

    Raises
    ------
    LenspipeError
        The journal can't be read.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self.settings, self.number = settings, number
        hashes = sample_hashes(settings.paths.records_manifest)
        self.key = content_key("proposal", settings, hashes)
        self.path = settings.paths.model(trial_name(settings, number), "proposal.json")
        self.journal = settings.paths.sweep("study.log")
        with self._journal_errors():
            self.study = self._open_study()
            self.trial = self._resume() or self._ask()
        self.values = validated_values(settings, number, self._read()["values"])

    @contextlib.contextmanager
    def _journal_errors(self) -> Iterator[None]:
        """Report problems with the journal in one line, and silence Optuna's own messages."""
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
        try:
            with room_to_write(self.journal), warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise LenspipeError(
                f"{self.journal}: can't be read as Optuna's journal ({type(error).__name__}: "
                f"{error}); delete it and run again: trials that have ended stay as they are"
            ) from error

    def _open_study(self) -> Study:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        path = str(self.journal)
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        # Network file systems guarantee exclusive creation of a file; Optuna's other lock, a link,
        # is never released after a kill if the path is relative.
        backend = JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
        self.storage = optuna.storages.JournalStorage(backend)
        # Optuna's generator gives similar first numbers for neighbouring seeds.
        seed = random.Random(f"{self.settings.seed} {self.number}").getrandbits(32)
        epochs = self.settings.training.epochs
        return optuna.create_study(
            storage=self.storage,
            study_name=f"{self.settings.run}-{self.key}",
            load_if_exists=True,
            direction="maximize",
            # Running trials count as bad ones, so that no two try the same values.
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=round(_WARMUP * epochs) + 1
            ),
        )

    def _read(self) -> dict[str, Any]:
        """What was proposed with the same settings; empty if nothing was."""
        content = read_kept(self.path) or {}
        return content if content.get("key") == self.key else {}

    def _running(self) -> list[FrozenTrial]:
        """Running trials of the study that belong to this trial of the sweep, latest first."""
        from optuna.trial import TrialState

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [one for one in reversed(running) if one.user_attrs.get("trial") == self.number]

    def _resume(self) -> Trial | None:
        """The trial of the study that a killed job was running, if any."""
        import optuna

        number = self._read().get("number")
        if number not in [frozen.number for frozen in self._running()]:
            return None
        log.info("trial %03d: resuming with the proposed values", self.number)
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.trial.Trial(self.study, trial_id)

    def _ask(self) -> Trial:
        """A new trial of the study, with the values kept in proposal.json if there are any."""
        import optuna

        # Of a job that was killed before it kept its values, or whose values were deleted.
        for frozen in self._running():
            self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
        choices = self.settings.sweep.settings
        if values := self._read().get("values"):
            fixed = {key: _optuna_value(choices[key], value) for key, value in values.items()}
            sampler = optuna.samplers.PartialFixedSampler(fixed, self.study.sampler)
            self.study.sampler = sampler
        trial = self.study.ask()
        trial.set_user_attr("trial", self.number)
        values = {key: _suggest(trial, key, options) for key, options in choices.items()}
        content = {"key": self.key, "number": trial.number, "values": values}
        write_json(self.path, content)
        return trial

    def should_prune(self, epoch: int, lenses: np.ndarray, nonlenses: np.ndarray) -> bool:
        """Report the scores after an epoch (from 1) to the study; return whether to prune.

        A trial is pruned if its best figure of merit so far is below the median of the ended trials
        at the same epoch.
        """
        with self._journal_errors():
            # A training that starts over, its state lost, comes to the same epochs again.
            trials = self.study.get_trials(deepcopy=False)
            known = trials[self.trial.number].intermediate_values
            if epoch not in known:
                self.trial.report(merit(lenses, nonlenses, self.settings.sweep.fpr), epoch)
            return self.trial.should_prune()

    def close(self, status: str, lenses: np.ndarray, nonlenses: np.ndarray) -> None:
        """Report to the study how the trial ended (done, pruned or failed), and its scores."""
        from optuna.trial import TrialState

        # A failed trial counts as the worst, so that nothing similar is proposed again.
        done = status == "done"
        state = None if done else TrialState.PRUNED
        value = merit(lenses, nonlenses, self.settings.sweep.fpr) if done else None
        with self._journal_errors():
            self.study.tell(self.trial, value, state=state)


def _suggest(trial: Trial, key: str, choices: list | Range) -> Any:
    """A value of the trial for a setting."""
    if not isinstance(choices, Range):
        # As text: Optuna takes no lists or maps, and lists may be values.
        return json.loads(trial.suggest_categorical(key, [json.dumps(one) for one in choices]))
    suggest: Any = trial.suggest_int if choices.is_whole else trial.suggest_float
    return suggest(key, choices.low, choices.high, log=choices.log)


def _optuna_value(choices: list | Range, value: Any) -> Any:
    """A value of a setting as Optuna's parameter."""
    return value if isinstance(choices, Range) else json.dumps(value)
