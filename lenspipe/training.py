"""Training of a network on the labelled sample."""

import json
import shutil
import time

import matplotlib.figure
import numpy as np
import pandas as pd
import yaml

from lenspipe._tensorflow import gpus, keras, tf
from lenspipe.config import digest
from lenspipe.errors import LenspipeError
from lenspipe.evaluation import auc
from lenspipe.inference import predict
from lenspipe.models import build
from lenspipe.paths import atomic
from lenspipe.progress import log
from lenspipe.recordfiles import check_shards
from lenspipe.records import dataset
from lenspipe.shards import sample_version

__all__ = ["augment", "train"]

#: Largest weight of a lens that `lens_weight: null` chooses.
MAX_LENS_WEIGHT = 10.0
#: Cutouts of the training split on which the network's normalisation is measured.
_ADAPT = 512
#: Least time between two lines within an epoch, seconds.
_LINE_SECONDS = 10


def augment(images, seed):
    """Turn and mirror cutouts at random: each of the square's eight symmetries alike.

    No other angles and no zoom: they would smooth the noise of some cutouts and not of others.

    Parameters
    ----------
    images : tensor of float32, (N, B, S, S)
        Cutouts.
    seed : tensor of int, (2,)
        The same seed makes the same choices.

    Returns
    -------
    tensor of float32, (N, B, S, S)
    """
    chosen = tf.random.stateless_uniform((3, tf.shape(images)[0], 1, 1, 1), seed) < 0.5
    images = tf.where(chosen[0], tf.reverse(images, [2]), images)
    images = tf.where(chosen[1], tf.reverse(images, [3]), images)
    return tf.where(chosen[2], tf.transpose(images, (0, 1, 3, 2)), images)


def train(settings):
    """Train the network of the configuration on the labelled sample.

    Leaves in ``models/<name>/``: model.keras, history.csv, history.png, metrics.json and
    config.yaml (all settings of the run). A training that was killed goes on after its last whole
    epoch and ends with the same model as one that was not.

    The model kept is the one of the epoch with the highest area under the ROC curve of the
    validation split (at equal area: the lowest loss) among the epochs at the *last* learning rate.
    Validation splits hold few lenses, and the best of many epochs with large steps would be a
    lucky one; at the small last rate epochs differ little, and the choice only guards against
    overfitting. Where all lenses are trained on (``sample.fractions``), the last epoch is kept.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        The run's settings.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    LenspipeError
        The sample lacks a class in the training or validation split, its records are not those
        that were written, or the loss is not finite.
    """
    own, paths = settings.training, settings.paths
    sample = pd.read_parquet(paths.sample)
    counts = _count_classes(settings, sample)
    for split in counts:
        check_shards(settings, split)
    device = _say_device(own)
    log.info(
        "training %s (%s): %d lenses and %d others; validation: %d and %d",
        own.name, own.network, *counts["train"], *counts["validation"],
    )  # fmt: skip
    keras.utils.set_random_seed(settings.seed)
    model = _make(settings, mixed=bool(gpus) and own.mixed_precision)
    optimizer = keras.optimizers.Adam(own.learning_rate)
    model.compile(optimizer, "binary_crossentropy", jit_compile=bool(gpus))
    optimizer.build(model.trainable_variables)

    # Level and noise stand for the pixels of the sample.
    pixels = [float(x) for weight in model.get_layer("normalise").weights for x in np.ravel(weight)]
    key = digest(own, settings.seed, pd.util.hash_pandas_object(sample).tolist(), pixels)
    backup = _Backup(paths.model(own.name, "backup"), key)
    history, seconds_before = backup.restore(model)
    begin = time.monotonic()
    seconds = seconds_before
    first_last_rate = max([d for d in own.decay_epochs if d < own.epochs], default=0)
    validation = _validation_split(settings)
    log.info("compiling the network; its first step may take a minute")
    for epoch in range(len(history), own.epochs):
        begin_epoch = time.monotonic()
        rate = own.learning_rate * own.decay_factor ** sum(d <= epoch for d in own.decay_epochs)
        optimizer.learning_rate = rate
        data = _training_data(settings, counts["train"], epoch)
        lines = _Lines(epoch, own.epochs)
        loss = model.fit(data, shuffle=False, verbose=0, callbacks=[lines]).history["loss"][0]
        speed = sum(counts["train"]) / (time.monotonic() - begin_epoch)
        val_loss, val_auc = validation(model, lines) if validation else (None, None)
        if not np.isfinite([loss, val_loss or 0]).all():
            raise LenspipeError(
                f"training of {own.name}: the loss is not finite in epoch {epoch + 1} "
                f"(training {loss}, validation {val_loss}); lower training.learning_rate "
                f"(found {own.learning_rate}) and look at the sample's cutouts"
            )
        history.append(
            {"epoch": epoch + 1, "learning_rate": rate, "loss": loss, "val_loss": val_loss,
             "val_auc": val_auc, "images_per_s": speed}
        )  # fmt: skip
        seconds = seconds_before + time.monotonic() - begin
        left = (time.monotonic() - begin_epoch) * (own.epochs - epoch - 1)
        validated = f", validation loss {val_loss:.4f}, AUC {val_auc:.4f}" if validation else ""
        log.info(
            "epoch %d/%d: loss %.4f%s; %.0f images/s; %.0f s left",
            epoch + 1, own.epochs, loss, validated, speed, left,
        )  # fmt: skip
        kept = _best(history[first_last_rate:]) if epoch >= first_last_rate else None
        backup.save(model, history, seconds, is_best=kept is history[-1])

    kept = _best(history[first_last_rate:])
    model.load_weights(backup.best)
    metrics = {
        "name": own.name,
        "sample_version": sample_version(settings),
        "network": own.network,
        "parameters": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        "epochs": own.epochs,
        "kept_epoch": kept["epoch"],
        "val_auc": kept["val_auc"],
        "val_loss": kept["val_loss"],
        "counts": {
            split: dict(zip(("lens", "other"), n, strict=True)) for split, n in counts.items()
        },
        "seconds": round(seconds, 1),
        "images_per_s": round(float(np.median([row["images_per_s"] for row in history])), 1),
        "device": device,
    }
    _write_results(settings, model, pd.DataFrame(history), metrics)
    backup.remove()
    log.info("training %s: kept epoch %d, validation AUC %s", own.name, kept["epoch"],
             kept["val_auc"])  # fmt: skip
    return metrics


def _count_classes(settings, sample):
    """Lenses and others of each split, and a clear word where a class is missing."""
    counts = {}
    for split, part in zip(("train", "validation"), settings.sample.fractions, strict=False):
        labels = sample.loc[sample["split"] == split, "label"]
        counts[split] = (int((labels == 1).sum()), int((labels == 0).sum()))
        if part and 0 in counts[split]:
            raise LenspipeError(
                f"{settings.paths.sample}: found {counts[split][0]} lenses and {counts[split][1]} "
                f"others in the {split} split, expected some of each; give more known lenses "
                "(sample.known_lenses), search more sky (footprint), or change sample.fractions"
            )
    return counts


def _say_device(own):
    if not gpus:
        log.info("no GPU found: training on the CPU")
        return "CPU"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    log.info("training on %s%s", name, " in mixed precision" if own.mixed_precision else "")
    return name


def _make(settings, mixed=False):
    """The network, adapted to the training split."""
    own = settings.training
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    try:
        model = build(
            own.network, settings.survey.bands, settings.cutouts.size, **own.network_settings
        )
    finally:
        keras.config.set_dtype_policy(before)
    first = next(iter(dataset(_shards(settings, "train"), _ADAPT, *_shape(settings), ["image"])))
    model.get_layer("normalise").adapt(first["image"].numpy())
    return model


def _shape(settings):
    return len(settings.survey.bands), settings.cutouts.size


def _shards(settings, split):
    pattern = settings.paths.sample_shards(split)
    return sorted(pattern.parent.glob(pattern.name))


def _training_data(settings, counts, epoch):
    """One epoch's batches (images, labels, weights); they depend on seed and epoch only."""
    own = settings.training
    lenses, others = counts
    weight = own.lens_weight or max(1.0, min(others / lenses, MAX_LENS_WEIGHT))
    seed = settings.seed * 100_003 + epoch

    def prepare(step, batch):
        label = batch["label"][:, None]
        image = augment(batch["image"], tf.stack([tf.constant(seed, tf.int64), step]))
        return image, label, tf.where(label == 1, weight, 1.0)

    batch_size = min(own.batch_size, lenses + others)
    batches = dataset(
        _shards(settings, "train"),
        batch_size,
        *_shape(settings),
        columns=["image", "label"],
        shuffle=seed,
        drop_remainder=True,  # batch normalisation suffers from a last batch of a few
    )
    steps = tf.data.experimental.assert_cardinality((lenses + others) // batch_size)
    return batches.enumerate().map(prepare).apply(steps).prefetch(tf.data.AUTOTUNE)


def _validation_split(settings):
    """Return a function that measures a model: loss and area under the ROC curve.

    None where there is no validation split.
    """
    if not _shards(settings, "validation"):
        return None
    batches = dataset(
        _shards(settings, "validation"),
        settings.inference.batch_size,
        *_shape(settings),
        columns=["image", "label"],
    )

    def measure(model, lines):
        pairs = []
        for batch in batches:
            pairs.append((batch["label"].numpy(), predict(model, batch["image"].numpy())))
            lines.tick(f"validation, {len(pairs)} batches")
        label, p = (
            np.concatenate(values).astype(np.float64) for values in zip(*pairs, strict=True)
        )
        p = np.clip(p, 1e-7, 1 - 1e-7)
        loss = -np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))
        return float(loss), auc(p[label == 1], p[label == 0])

    return measure


def _best(history):
    """The epoch to keep; the last one without a validation split."""
    if history[-1]["val_auc"] is None:
        return history[-1]
    return max(history, key=lambda row: (row["val_auc"], -row["val_loss"]))


class _Lines(keras.callbacks.Callback):
    """Lines in the log within a long epoch."""

    def __init__(self, epoch, epochs):
        super().__init__()
        self.what = f"epoch {epoch + 1}/{epochs}"
        self.last = time.monotonic()

    def tick(self, text):
        """Log a line unless there was one a moment ago."""
        if time.monotonic() - self.last > _LINE_SECONDS:
            self.last = time.monotonic()
            log.info("%s: %s", self.what, text)

    def on_train_batch_end(self, batch, logs=None):
        self.tick(f"{batch + 1} steps, loss {logs['loss']:.4f}")


class _Backup:
    """State of a training after each epoch, so that a killed one can go on.

    keras.callbacks.BackupAndRestore is not used: it writes in place (killed while it writes, it
    leaves what it can't read) and knows neither the history nor the best weights.

    Parameters
    ----------
    folder : pathlib.Path
        Where the state is.
    key : str
        Of settings and sample; the state of another key is not used.
    """

    def __init__(self, folder, key):
        self.folder, self.key = folder, key
        self.state = folder / "state.json"
        self.best = folder / "best.weights.h5"

    def restore(self, model):
        """Load the last state into a compiled model; return history and seconds spent."""
        state = json.loads(self.state.read_text()) if self.state.exists() else {}
        if state.get("key") != self.key:
            self.remove()
            return [], 0.0
        log.info("going on after epoch %d", len(state["history"]))
        model.load_weights(self.folder / state["weights"])
        return state["history"], state["seconds"]

    def save(self, model, history, seconds, is_best):
        """Save the state; only the renaming of state.json makes it the one that counts."""
        if is_best:
            with atomic(self.best) as temporary:
                model.save_weights(temporary)
        weights = self.folder / f"epoch-{len(history)}.weights.h5"
        with atomic(weights) as temporary:
            model.save_weights(temporary)
        state = {
            "key": self.key, "weights": weights.name, "history": history, "seconds": seconds
        }  # fmt: skip
        with atomic(self.state) as temporary:
            temporary.write_text(json.dumps(state))
        for old in self.folder.glob("epoch-*.weights.h5"):
            if old != weights:
                old.unlink()

    def remove(self):
        """Delete the state."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _write_results(settings, model, history, metrics):
    """Write everything that describes the trained model, the model itself last."""
    own, paths = settings.training, settings.paths
    with atomic(paths.model(own.name, "history.csv")) as temporary:
        history.to_csv(temporary, index=False)
    with atomic(paths.model(own.name, "history.png")) as temporary:
        _plot(history, metrics).savefig(temporary, dpi=120)
    with atomic(paths.model(own.name, "config.yaml")) as temporary:
        plain = json.loads(settings.model_dump_json())
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False))
    with atomic(paths.model(own.name, "metrics.json")) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1) + "\n")
    # A model trained in mixed precision is saved in single precision, to load anywhere.
    single = _make(settings)
    single.set_weights(model.get_weights())
    with atomic(paths.model(own.name)) as temporary:
        single.save(temporary)


def _plot(history, metrics):
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(history["epoch"], history["loss"], label="training (weighted, augmented)")
    if validated := bool(history["val_loss"].notna().any()):
        left.semilogy(history["epoch"], history["val_loss"], label="validation")
    left.set(xlabel="epoch", ylabel="binary cross-entropy")
    left.legend()
    if validated:
        right.plot(history["epoch"], history["val_auc"])
    right.axvline(metrics["kept_epoch"], color="0.6", lw=1, label="kept")
    right.set(xlabel="epoch", ylabel="area under the ROC curve, validation")
    right.legend()
    return figure
