"""Training of a network on the labelled sample."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths, network_source
from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.config.training import Training
from lenspipe.models.classes import with_classes
from lenspipe.models.contents import count_parameters, normalisation, synchronise
from lenspipe.models.registry import build
from lenspipe.products.files import read_json
from lenspipe.products.record_files import check_shards
from lenspipe.products.sample import sample_version
from lenspipe.training.backup import Backup
from lenspipe.training.data import (
    Batches,
    TrainingData,
    Validation,
    ValidationData,
    choose_classes,
    count_classes,
    training_seed,
)
from lenspipe.training.devices import choose_devices
from lenspipe.training.optimisation import best_epoch, learning_rate, make_optimizer
from lenspipe.training.results import (
    code_version,
    sample_hashes,
    write_history,
    write_model,
    write_notes,
)
from lenspipe.training.steps import ProgressLogger, Steps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, keras

__all__ = ["AfterEpoch", "Fit", "initial_model", "train"]

#: Called with an epoch's row of the history and the validation probabilities of lenses and of
#: non-lenses, arrays (None without a validation split, and on all machines but the first).
AfterEpoch = Callable[[dict[str, Any], Any, Any], object]


def train(settings: Settings, after_epoch: AfterEpoch | None = None) -> dict[str, Any]:
    """Train the network of the configuration on the labelled sample.

    Leaves in ``models/<name>/``: history.csv, history.png, config.yaml (all settings of the run),
    training.json and finally model.keras. A training that was killed resumes after its last
    complete epoch and ends with the same model as an uninterrupted one. A model of the same sample
    and settings is kept, so that results whose times were lost are not trained again.

    ``training.keep`` says which epoch's model is kept. Validation splits hold few lenses, so the
    best of many epochs with large steps would be a lucky one; at the small final rate epochs differ
    little, and the choice only guards against overfitting. Where all lenses are trained on
    (``sample.fractions``), the last epoch is kept.

    With ``training.refit`` that model is left as validated.keras, and model.keras is the last epoch
    of a second training, of the same number of epochs, on the training and validation splits.
    Return the content of training.json; only the first machine knows all of it. For one of several
    models the settings are those of `Settings.of_model`. An exception that `after_epoch` raises
    ends the training.

    Raises
    ------
    LenspipeError
        The sample lacks a class in the training or validation split, its records differ from those
        that were written, the loss is not finite, or memory ran out.
    """
    training, paths = settings.training, settings.paths
    records = paths.records_manifest
    bands, shape = settings.survey.bands, (len(settings.survey.bands), settings.cutouts.size)
    seed = training_seed(training, settings.seed)
    counts = count_classes(paths.sample, settings.sample.fractions)
    source = network_source(training.network)
    text = source.read_text() if source else None
    classes = choose_classes(paths.sample, training.classes)

    def key_of(counts: Mapping[str, tuple[int, int]]) -> str:
        content = counts, sample_hashes(records), _is_mixed(training), text
        return content_key("train", settings, *content)

    key = key_of({"train": counts["train"]})
    if after_epoch is None and (notes := _kept(paths, training, key)):
        log.info(
            "training %s: %s is of this sample and these settings; delete it to train again",
            training.name, paths.model(training.name),
        )  # fmt: skip
        return notes
    devices = choose_devices(training.strategy)
    precision = " in mixed precision" if _is_mixed(training) else "" if gpus else " (no GPU found)"
    log.info("training on %s%s", devices.name, precision)
    log.info(
        "training %s (%s): %d lenses and %d non-lenses; validation: %d and %d",
        training.name, training.network, *counts["train"], *counts["validation"],
    )  # fmt: skip

    def make_fit(
        counts: Mapping[str, tuple[int, int]], validation: ValidationData | None, folder: str
    ) -> Fit:
        shards = [path for split in counts for path in check_shards(records, split)]
        data = TrainingData(shards, counts, shape, training, seed, devices, classes)
        model = initial_model(training, bands, data)
        backup = Backup(paths.model(training.name, folder), key_of(counts))
        return Fit(model, training, bands, data, validation, backup)

    validation = None
    if sum(counts["validation"]):
        validation = ValidationData(
            check_shards(records, "validation"),
            settings.inference.batch_size,
            shape,
        )
    first = make_fit({"train": counts["train"]}, validation, "backup")
    first.run(training.epochs, after_epoch)
    kept = best_epoch(training, first.history)
    assert kept is not None
    notes = {
        "name": training.name,
        "key": key,
        "network": training.network,
        "parameters": count_parameters(first.model),
        "lenspipe": code_version(),
        "sample_version": sample_version(records),
        "sample_frames_crc32": sample_hashes(records),
        "epochs": len(first.history),
        "kept_epoch": kept["epoch"],
        "val_auc": kept["val_auc"],
        "val_loss": kept["val_loss"],
        "counts": {
            split: dict(zip(("lens", "other"), n, strict=True)) for split, n in counts.items()
        },
        "classes": list(classes),
        "refit": training.refit,
        "seconds": round(first.seconds, 1),
        "images_per_s": round(float(np.median([r["images_per_s"] for r in first.history])), 1),
        "device": devices.name,
        "mixed_precision": _is_mixed(training),
    }
    log.info("training %s: kept epoch %d, validation AUC %s", training.name, kept["epoch"],
             kept["val_auc"])  # fmt: skip
    final = first
    if training.refit:
        log.info("training %s again, on the training and validation splits", training.name)
        final = make_fit(counts, None, "backup-refit")
        final.run(len(first.history))
        notes["seconds"] = round(first.seconds + final.seconds, 1)
    if devices.is_chief:
        folder = paths.model(training.name).parent
        paths.model(training.name).unlink(missing_ok=True)
        write_history(folder, pd.DataFrame(first.history), kept["epoch"])
        write_notes(folder, settings, notes)
        validated = paths.model(training.name, "validated.keras")
        validated.unlink(missing_ok=True)
        if training.refit:
            write_model(validated, first.kept_model())
        write_model(paths.model(training.name), final.kept_model())
        for leftover in ("backup-refit", "backup"):
            Backup(paths.model(training.name, leftover)).remove()
        paths.model(training.name, "not-finite.txt").unlink(missing_ok=True)
    return notes


def _kept(paths: RunPaths, training: Training, key: str) -> dict[str, Any] | None:
    """Return the notes of a complete model with that key, and renew the times of its files."""
    files = ["history.csv", "history.png", "training.json", "model.keras"]
    outputs = [paths.model(training.name, name) for name in files]
    needed = [*outputs, *([paths.model(training.name, "validated.keras")] * training.refit)]
    if not all(path.exists() for path in needed):
        return None
    notes = read_json(paths.model(training.name, "training.json"), "training")
    if notes.get("key") != key:
        return None
    for path in outputs:
        path.touch()
    return notes


def _is_mixed(training: Training) -> bool:
    return bool(gpus) and training.mixed_precision


def _make(
    training: Training,
    bands: tuple[str, ...],
    size: int,
    classes: Sequence[str] = (),
    mixed: bool = False,
    empty: bool = False,
) -> keras.Model:
    """Build the network; its normalisation has yet to be adapted.

    An empty one is given its weights later and need not fetch pretrained ones.
    """
    network_settings: dict[str, Any] = dict(training.network_settings)
    if empty and training.network == "efficientnet_v2":
        network_settings["weights"] = None
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    try:
        model = build(training.network, bands, size, **network_settings)
        return with_classes(model, classes) if classes else model
    finally:
        keras.config.set_dtype_policy(before)


def initial_model(training: Training, bands: tuple[str, ...], data: Batches) -> keras.Model:
    """Build, adapt and compile the network on the devices of the data."""
    keras.utils.set_random_seed(data.seed)
    with data.devices.strategy.scope():
        model = _make(training, bands, data.shape[1], data.classes, mixed=_is_mixed(training))
        images = data.some_images()
        for layer in normalisation(model):
            layer.adapt(images)
        if data.devices.n_replicas > 1:
            synchronise(model)
        model.compile(make_optimizer(training))
        model.optimizer.build(model.trainable_variables)
    return model


class Fit:
    """One training, from the first epoch to the last.

    Parameters
    ----------
    model
        As returned by `initial_model`.
    bands
        Names of the bands of the cutouts.
    data
        What to train on.
    validation
        What to validate on, if anything.
    backup
        Keeps the state.
    """

    def __init__(
        self,
        model: keras.Model,
        training: Training,
        bands: tuple[str, ...],
        data: Batches,
        validation: Validation | None,
        backup: Backup,
    ) -> None:
        self.model, self.training, self.bands, self.data = model, training, bands, data
        self.validation, self.backup = validation, backup
        self.devices = data.devices
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    def run(self, epochs: int, after_epoch: AfterEpoch | None = None) -> None:
        """Train up to a number of epochs, or until patience runs out."""
        training = self.training
        with self.devices.strategy.scope():
            self.history, self.seconds = self.backup.restore(self.model)
            self._share_state()
        if not self.history and self.devices.is_chief:
            self.backup.remove()
        steps = Steps(self.model, self.data, training, self.backup.folder.parent)
        log.info("compiling the network; its first step may take a minute")
        while len(self.history) < epochs and not self._is_stale():
            epoch = len(self.history)
            begin = time.monotonic()
            progress = ProgressLogger(f"epoch {epoch + 1}/{epochs}")
            rate = learning_rate(training, epoch)
            self.model.optimizer.learning_rate = rate
            loss = steps.run(epoch, progress)
            speed = self.data.batch_size * self.data.steps / (time.monotonic() - begin)
            val_loss, val_auc, lenses, nonlenses = self._validate(progress)
            if val_loss is not None and not np.isfinite(val_loss):
                raise LenspipeError(
                    f"training of {training.name}: the validation loss is not finite after epoch "
                    f"{epoch + 1}; lower training.learning_rate (found "
                    f"{training.learning_rate:g})"
                )
            row = {"epoch": epoch + 1, "learning_rate": rate, "loss": loss, "val_loss": val_loss,
                   "val_auc": val_auc, "images_per_s": speed}  # fmt: skip
            self.history.append(row)
            self.seconds += time.monotonic() - begin
            if self.devices.is_chief:
                is_best = best_epoch(training, self.history) is row
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
                after_epoch(row, lenses, nonlenses)

    def _share_state(self) -> None:
        """Let all machines start from the state of the first."""
        if self.devices.n_workers == 1:
            return
        here = len(self.history)
        first = int(self.devices.from_first(np.array([here]))[0])
        if here != first:
            raise LenspipeError(
                f"{self.backup.folder}: found the state after epoch {here}, the first machine "
                f"after epoch {first}; let all see the same folder, and start again"
            )
        variables = [*self.model.variables, *self.model.optimizer.variables]
        values = [np.asarray(variable.numpy()) for variable in variables]
        shared = self.devices.from_first(
            np.concatenate([v.ravel().astype(np.float64) for v in values])
        )
        ends = np.cumsum([value.size for value in values])
        for variable, value, part in zip(
            variables, values, np.split(shared, ends[:-1]), strict=True
        ):
            variable.assign(part.reshape(value.shape).astype(value.dtype))

    def _is_stale(self) -> bool:
        best = best_epoch(self.training, self.history)
        if self.training.patience is None or best is None or self.validation is None:
            return False
        return len(self.history) - best["epoch"] >= self.training.patience

    def _validate(
        self, progress: ProgressLogger
    ) -> tuple[float | None, float | None, np.ndarray | None, np.ndarray | None]:
        """Loss, AUC and probabilities of the validation split; None without one.

        The first machine measures and tells the others, so that all make the same decisions.
        """
        if self.validation is None:
            return None, None, None, None
        loss: float | None = np.nan
        area: float | None = np.nan
        lenses, nonlenses = None, None
        if self.devices.is_chief:
            loss, area, lenses, nonlenses = self.validation.measure(self.model, progress)
        loss, area = self.devices.from_first(np.array([loss, area])).tolist()
        return loss, area, lenses, nonlenses

    def kept_model(self) -> keras.Model:
        """Network in single precision with the weights of the kept epoch.

        Trained in half precision or on several devices, it can then be loaded anywhere.
        """
        self.backup.load_best(self.model)
        size, classes = self.data.shape[1], self.data.classes
        single = _make(self.training, self.bands, size, classes, empty=True)
        single.set_weights(self.model.get_weights())
        return single
