"""Training of a network on the labelled sample."""

import time

import numpy as np
import pandas as pd

from lenspipe.config.paths import network_source
from lenspipe.models.contents import normalisation, synchronise
from lenspipe.models.registry import build
from lenspipe.products.sample import sample_version
from lenspipe.training.backup import Backup
from lenspipe.training.data import TrainingData, ValidationData, count_classes, seed_of
from lenspipe.training.devices import choose_devices
from lenspipe.training.optimisation import best_epoch, learning_rate, make_optimizer
from lenspipe.training.results import code_version, sample_hashes, write_model, write_notes
from lenspipe.training.steps import Steps, Ticker
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, keras

__all__ = ["train"]


def train(settings, after_epoch=None):
    """Train the network of the configuration on the labelled sample.

    Leaves in ``models/<name>/``: history.csv, history.png, config.yaml (all settings of the run),
    training.json and last model.keras. A training that was killed goes on after its last whole
    epoch and ends with the same model as one that was not.

    Which epoch's model is kept ``training.keep`` says. Validation splits hold few lenses, and the
    best of many epochs with large steps would be a lucky one; at the small last rate epochs differ
    little, and the choice only guards against overfitting. Where all lenses are trained on
    (``sample.fractions``), the last epoch is kept.

    With ``training.refit`` that model is left as validated.keras, and model.keras is the last epoch
    of a second training, of as many epochs, on the training and the validation split.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings; of one of several models, as `Settings.of_model` gives them.
    after_epoch : callable, optional
        Called after each epoch with its row of the history and the validation probabilities of
        lenses and of others; an exception that it raises ends the training.

    Returns
    -------
    dict
        The content of training.json. On all machines but the first only what they know.

    Raises
    ------
    LenspipeError
        The sample lacks a class in the training or validation split, its records are not those
        that were written, the loss is not finite, or memory ran out.
    """
    own, paths = settings.training, settings.paths
    counts = count_classes(settings)
    devices = choose_devices(own.strategy)
    how = "" if gpus else " (no GPU found)"
    log.info("training on %s%s", devices.name, " in mixed precision" if _is_mixed(own) else how)
    log.info(
        "training %s (%s): %d lenses and %d others; validation: %d and %d",
        own.name, own.network, *counts["train"], *counts["validation"],
    )  # fmt: skip
    validation = ValidationData(settings) if sum(counts["validation"]) else None
    first = _Fit(settings, {"train": counts["train"]}, validation, devices, "backup")
    first.run(own.epochs, after_epoch)
    kept = best_epoch(own, first.history)
    notes = {
        "name": own.name,
        "network": own.network,
        "parameters": int(sum(np.prod(w.shape) for w in first.model.trainable_weights)),
        "lenspipe": code_version(),
        "sample_version": sample_version(settings.paths.records_manifest),
        "sample_frames_crc32": sample_hashes(settings),
        "epochs": len(first.history),
        "kept_epoch": kept["epoch"],
        "val_auc": kept["val_auc"],
        "val_loss": kept["val_loss"],
        "counts": {
            split: dict(zip(("lens", "other"), n, strict=True)) for split, n in counts.items()
        },
        "refit": own.refit,
        "seconds": round(first.seconds, 1),
        "images_per_s": round(float(np.median([r["images_per_s"] for r in first.history])), 1),
        "device": devices.name,
        "mixed_precision": _is_mixed(own),
    }
    log.info("training %s: kept epoch %d, validation AUC %s", own.name, kept["epoch"],
             kept["val_auc"])  # fmt: skip
    fits = [first]
    if own.refit:
        log.info("training %s once more, on training and validation split", own.name)
        fits.append(_Fit(settings, counts, None, devices, "backup-refit"))
        fits[1].run(len(first.history))
        notes["seconds"] = round(first.seconds + fits[1].seconds, 1)
    if devices.is_chief:
        write_notes(settings, pd.DataFrame(first.history), notes)
        validated = paths.model(own.name, "validated.keras")
        validated.unlink(missing_ok=True)
        if own.refit:
            write_model(validated, first.kept_model())
        write_model(paths.model(own.name), fits[-1].kept_model())
        for leftover in ("backup-refit", "backup"):
            Backup(paths.model(own.name, leftover)).remove()
        paths.model(own.name, "not-finite.txt").unlink(missing_ok=True)
    return notes


def _is_mixed(own):
    return bool(gpus) and own.mixed_precision


def _make(settings, mixed=False, empty=False):
    """The network; its normalisation has yet to be adapted.

    An empty one is given its weights afterwards and need not fetch any.
    """
    own = settings.training
    network_settings = dict(own.network_settings)
    if empty and own.network == "efficientnet_v2":
        network_settings["weights"] = None
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    try:
        return build(own.network, settings.survey.bands, settings.cutouts.size, **network_settings)
    finally:
        keras.config.set_dtype_policy(before)


class _Fit:
    """One training, from the first epoch to the last.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    counts : dict
        Splits to train on -> (lenses, others).
    validation : lenspipe.training.data.ValidationData or None
    devices : lenspipe.training.devices.Devices
    folder : str
        Name of the folder of its state.
    """

    def __init__(self, settings, counts, validation, devices, folder):
        self.settings, self.own = settings, settings.training
        self.validation, self.devices = validation, devices
        self.data = TrainingData(settings, counts, devices)
        keras.utils.set_random_seed(seed_of(settings))
        with devices.strategy.scope():
            self.model = _make(settings, mixed=_is_mixed(self.own))
            images = self.data.some_images()
            for layer in normalisation(self.model):
                layer.adapt(images)
            if devices.n_replicas > 1:
                synchronise(self.model)
            self.model.compile(make_optimizer(self.own))
            self.model.optimizer.build(self.model.trainable_variables)
        source = network_source(self.own.network)
        key = digest(
            self.own, settings.seed, counts, sample_hashes(settings), _is_mixed(self.own),
            source.read_text() if source else None,
        )  # fmt: skip
        self.backup = Backup(settings.paths.model(self.own.name, folder), key)
        self.history, self.seconds = [], 0.0

    def run(self, epochs, after_epoch=None):
        """Train up to a number of epochs, or until there has long been no better one."""
        own = self.own
        with self.devices.strategy.scope():
            self.history, self.seconds = self.backup.restore(self.model)
            self._share()
        if not self.history and self.devices.is_chief:
            self.backup.remove()
        steps = Steps(self.model, self.data, own)
        log.info("compiling the network; its first step may take a minute")
        while len(self.history) < epochs and not self._is_stale():
            epoch = len(self.history)
            begin = time.monotonic()
            tick = Ticker(f"epoch {epoch + 1}/{epochs}")
            rate = learning_rate(own, epoch)
            self.model.optimizer.learning_rate = rate
            loss = steps.run(epoch, tick)
            speed = self.data.batch_size * self.data.steps / (time.monotonic() - begin)
            val_loss, val_auc, lenses, others = self._validate(tick)
            if val_loss is not None and not np.isfinite(val_loss):
                raise LenspipeError(
                    f"training of {own.name}: the validation loss is not finite after epoch "
                    f"{epoch + 1}; lower training.learning_rate (found {own.learning_rate:g})"
                )
            row = {"epoch": epoch + 1, "learning_rate": rate, "loss": loss, "val_loss": val_loss,
                   "val_auc": val_auc, "images_per_s": speed}  # fmt: skip
            self.history.append(row)
            self.seconds += time.monotonic() - begin
            if self.devices.is_chief:
                is_best = best_epoch(own, self.history) is row
                self.backup.save(self.model, self.history, self.seconds, is_best)
            left = (time.monotonic() - begin) * (epochs - epoch - 1)
            validated = ""
            if val_loss is not None:
                validated = f", validation loss {val_loss:.4f}, AUC {val_auc:.4f}"
            log.info(
                "epoch %d/%d: loss %.4f%s; %.0f images/s; %.0f s left",
                epoch + 1, epochs, loss, validated, speed, left,
            )  # fmt: skip
            if after_epoch:
                after_epoch(row, lenses, others)

    def _share(self):
        """Let all machines begin with the state of the first."""
        if self.devices.n_workers == 1:
            return
        found, first = (
            len(self.history),
            int(self.devices.of_first(np.array([len(self.history)]))[0]),
        )
        if found != first:
            raise LenspipeError(
                f"{self.backup.folder}: found the state after epoch {found}, the first machine "
                f"after epoch {first}; let all see the same folder, and start again"
            )
        variables = [*self.model.variables, *self.model.optimizer.variables]
        values = [np.asarray(variable.numpy()) for variable in variables]
        shared = self.devices.of_first(
            np.concatenate([v.ravel().astype(np.float64) for v in values])
        )
        ends = np.cumsum([value.size for value in values])
        for variable, value, part in zip(
            variables, values, np.split(shared, ends[:-1]), strict=True
        ):
            variable.assign(part.reshape(value.shape).astype(value.dtype))

    def _is_stale(self):
        best = best_epoch(self.own, self.history)
        if self.own.patience is None or best is None or self.validation is None:
            return False
        return len(self.history) - best["epoch"] >= self.own.patience

    def _validate(self, tick):
        """Loss, AUC and probabilities of the validation split; None without one.

        The first machine measures and tells the others, so that all decide alike.
        """
        if self.validation is None:
            return None, None, None, None
        loss, area, lenses, others = np.nan, np.nan, None, None
        if self.devices.is_chief:
            loss, area, lenses, others = self.validation.measure(self.model, tick)
        loss, area = self.devices.of_first(np.array([loss, area])).tolist()
        return loss, area, lenses, others

    def kept_model(self):
        """The network with the weights of the epoch to keep, in single precision.

        One that was trained in half precision, or on several devices, loads anywhere so.
        """
        self.backup.load_best(self.model)
        single = _make(self.settings, empty=True)
        single.set_weights(self.model.get_weights())
        return single
