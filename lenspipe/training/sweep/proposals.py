"""Trials whose settings Optuna proposes, and which it breaks off when they fall behind.

Optuna is imported when a proposal is made: it is an optional dependency.
"""

import contextlib
import json
import logging
import random
import warnings

from lenspipe.config.training import Range
from lenspipe.products.files import write_json
from lenspipe.training.results import sample_hashes
from lenspipe.training.sweep.merit import merit
from lenspipe.training.sweep.plan import as_taken, made_from, name_of_trial
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import room_to_write
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log

__all__ = ["Proposal"]

#: Trials that come to their end before any is broken off.
_STARTUP_TRIALS = 4

#: Part of the epochs in which no trial is broken off.
_WARMUP = 0.25


class Proposal:
    """Settings that Optuna proposes for a trial, and what it is told of them.

    All trials share a study, in a journal that several machines may write to. It is a new study
    where settings or sample are others, since figures would not compare. The values proposed are
    kept beside the model, so that a killed trial goes on with the same ones, as the same trial of
    the study; where the journal was deleted, or the trial ended and is run again, as a new one.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the run.
    number : int
        Of the trial, from 0.

    Attributes
    ----------
    values : dict
        Key of section training -> value.

    Raises
    ------
    LenspipeError
        The journal can't be read.
    """

    def __init__(self, settings, number):
        self.settings, self.number = settings, number
        self.key = digest(made_from(settings, number, None), sample_hashes(settings))
        self.path = settings.paths.model(name_of_trial(settings, number), "proposal.json")
        with self._journal():
            self.study = self._open_study()
            self.trial = self._resumed() or self._asked()
        self.values = as_taken(settings, number, self._read()["values"])

    @contextlib.contextmanager
    def _journal(self):
        """Say in a line where the study can't be kept; its progress is logged here anyway."""
        import optuna

        path = self.settings.paths.sweep("study.log")
        optuna.logging.set_verbosity(logging.WARNING)
        try:
            with room_to_write(path), warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise LenspipeError(
                f"{path}: can't be read as Optuna's journal ({type(error).__name__}: {error}); "
                "delete it and run again: trials that have ended stay as they are"
            ) from error

    def _open_study(self):
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        path = self.settings.paths.sweep("study.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusive creation of a file is what network file systems promise; Optuna's other lock, a
        # link, is never given up after a kill where the path is relative.
        backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        # Neighbouring seeds begin alike in the generator that Optuna uses.
        seed = random.Random(f"{self.settings.seed} {self.number}").getrandbits(32)
        epochs = self.settings.training.epochs
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=f"{self.settings.run}-{self.key}",
            load_if_exists=True,
            direction="maximize",
            # Trials that are under way count as bad ones, so that no two try the same.
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=round(_WARMUP * epochs) + 1
            ),
        )

    def _read(self):
        """What was proposed under the same settings, empty if nothing was."""
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        return kept if kept.get("key") == self.key else {}

    def _mine(self):
        """Trials of the study that were begun for this one and have not ended, latest first."""
        from optuna.trial import TrialState

        begun = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [one for one in reversed(begun) if one.user_attrs.get("trial") == self.number]

    def _resumed(self):
        """The trial of the study that a killed job was at; None without one."""
        import optuna

        kept = self._read()
        for frozen in self._mine():
            if frozen.number == kept.get("number"):
                log.info("trial %03d: going on with what was proposed", self.number)
                return optuna.trial.Trial(self.study, frozen._trial_id)
        return None

    def _asked(self):
        """A new trial of the study, with the values kept if there are any."""
        import optuna

        # A job that was killed before it kept its values, or whose values were deleted.
        for frozen in self._mine():
            self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
        choices = self.settings.sweep.settings
        if values := self._read().get("values"):
            fixed = {key: _as_parameter(choices[key], value) for key, value in values.items()}
            sampler = optuna.samplers.PartialFixedSampler(fixed, self.study.sampler)
            self.study.sampler = sampler
        trial = self.study.ask()
        trial.set_user_attr("trial", self.number)
        values = {key: _suggest(trial, key, own) for key, own in choices.items()}
        content = {"key": self.key, "number": trial.number, "values": values}
        write_json(self.path, content)
        return trial

    def is_behind(self, epoch, lenses, others):
        """Tell the study how good the trial is after an epoch.

        Parameters
        ----------
        epoch : int
            From 1.
        lenses, others : ndarray, shape (N,), (M,)
            Scores of the validation split.

        Returns
        -------
        bool
            Whether to break it off: so far it never came up to the median of the trials that have
            ended, at the same epoch.
        """
        with self._journal():
            # A training that starts over, its state lost, comes to the same epochs again.
            trials = self.study.get_trials(deepcopy=False)
            known = trials[self.trial.number].intermediate_values
            if epoch not in known:
                self.trial.report(merit(lenses, others, self.settings.sweep.fpr), epoch)
            return self.trial.should_prune()

    def close(self, status, lenses, others):
        """Tell the study how the trial ended.

        Parameters
        ----------
        status : {"done", "pruned", "failed"}
        lenses, others : ndarray
            Scores of the validation split, where it is done.
        """
        from optuna.trial import TrialState

        # One that failed counts as the worst, so that nothing like it is proposed again.
        done = status == "done"
        state = None if done else TrialState.PRUNED
        value = merit(lenses, others, self.settings.sweep.fpr) if done else None
        with self._journal():
            self.study.tell(self.trial, value, state=state)


def _suggest(trial, key, choices):
    """A value of the trial for a setting."""
    if not isinstance(choices, Range):
        # As text: Optuna takes no lists or maps, and lists may be values.
        return json.loads(trial.suggest_categorical(key, [json.dumps(one) for one in choices]))
    suggest = trial.suggest_int if choices.is_whole else trial.suggest_float
    return suggest(key, choices.low, choices.high, log=choices.log)


def _as_parameter(choices, value):
    """What Optuna calls a value of a setting."""
    return value if isinstance(choices, Range) else json.dumps(value)
