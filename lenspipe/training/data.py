"""What a network is trained and validated on, epoch by epoch."""

import numpy as np
import pandas as pd

from lenspipe.products.record_files import check_shards
from lenspipe.products.records import dataset
from lenspipe.scoring.score import predict
from lenspipe.statistics.metrics import auc, cross_entropy
from lenspipe.training.augmentation import draw
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import gpus, tf

__all__ = ["TrainingData", "ValidationData", "count_classes", "seed_of"]

#: Largest weight of a lens that ``lens_weight: null`` chooses.
MAX_LENS_WEIGHT = 10.0

#: Cutouts on which the network's normalisation is measured.
_ADAPT = 512


def count_classes(settings):
    """Count lenses and others, and say clearly where a class is missing.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        ``train`` and ``validation`` -> (lenses, others).

    Raises
    ------
    LenspipeError
        One of these splits should hold some of both and does not.
    """
    sample = pd.read_parquet(settings.paths.sample, columns=["split", "label"])
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


def seed_of(settings):
    """Seed of a network's training: its own, or the run's.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    int
    """
    return settings.seed if settings.training.seed is None else settings.training.seed


class TrainingData:
    """Batches of the labelled sample; they depend on seed and epoch only, not on the devices.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    counts : dict
        As `count_classes` gives it, of the splits that are trained on.
    devices : lenspipe.training.devices.Devices
        Between which each batch is divided.

    Attributes
    ----------
    batch_size, steps : int
        Cutouts in a batch; batches in an epoch. The last batch is left out if it isn't full:
        normalisation suffers from a batch of a few.
    """

    def __init__(self, settings, counts, devices):
        own = settings.training
        self.settings, self.devices = settings, devices
        self.shards = [
            path
            for split in counts
            for path in check_shards(settings.paths.records_manifest, split)
        ]
        self.shape = len(settings.survey.bands), settings.cutouts.size
        lenses, others = (sum(numbers) for numbers in zip(*counts.values(), strict=True))
        self.lens_weight = own.lens_weight or max(1.0, min(others / lenses, MAX_LENS_WEIGHT))
        self.batch_size = min(own.batch_size, lenses + others)
        self.steps = (lenses + others) // self.batch_size
        if self.batch_size % devices.n_replicas:
            whole = max(self.batch_size // devices.n_replicas, 1) * devices.n_replicas
            raise LenspipeError(
                f"config key training.batch_size: a batch of {self.batch_size} can't be divided "
                f"between {devices.n_replicas} devices; set it to {whole}"
            )

        clipping = own.optimizer_settings.keys() & {"clipnorm", "clipvalue", "global_clipnorm"}
        if clipping and devices.n_replicas > 1:
            raise LenspipeError(
                f"config key training.optimizer_settings.{min(clipping)}: Keras would clip each of "
                f"the {devices.n_replicas} devices' part of the gradients by itself; leave it out, "
                "or set training.strategy to one"
            )

    def some_images(self):
        """Cutouts to measure level and noise on, (512, B, S, S) or fewer."""
        batches = dataset(self.shards, _ADAPT, *self.shape, columns=["image"])
        return next(iter(batches))["image"].numpy()

    def _seed(self, epoch):
        return seed_of(self.settings) * 100_003 + epoch

    def _records(self, epoch, columns, part=(0, 1)):
        return dataset(
            self.shards,
            self.batch_size,
            *self.shape,
            columns=columns,
            shuffle=self._seed(epoch),
            drop_remainder=True,
            part=part,
        )

    def epoch(self, epoch):
        """Batches of an epoch, (images, draws, labels, weights), for `Step`.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        iterable
            Where several devices share a batch, of `tf.distribute.DistributedValues`.
        """
        if self.devices.n_replicas == 1:
            batches = self._batches(epoch, 0, 1, 1)
            # Batches are copied to the GPU while it works on earlier ones.
            to_gpu = tf.data.experimental.prefetch_to_device("/GPU:0") if gpus else None
            return batches.apply(to_gpu) if to_gpu else batches
        return self.devices.strategy.distribute_datasets_from_function(
            lambda context: self._batches(
                epoch,
                context.input_pipeline_id,
                context.num_input_pipelines,
                self.devices.n_replicas // context.num_input_pipelines,
            )
        )

    def _batches(self, epoch, machine, n_machines, n_local):
        """Batches for the devices of a machine, device after device."""
        seed = tf.constant(self._seed(epoch), tf.int64)
        n_here = self.batch_size // n_machines
        first = machine * n_here

        def prepare(step, batch):
            label = batch["label"][:, None]
            weight = tf.where(label == 1, self.lens_weight, 1.0)
            draws = draw(self.batch_size, tf.stack([seed, step]))[first : first + n_here]
            return batch["image"], draws, label, weight

        records = self._records(epoch, ["image", "label"], (machine, n_machines))
        batches = records.enumerate().map(prepare)
        if n_local > 1:
            batches = batches.map(
                lambda *values: tuple(
                    tf.reshape(v, (n_local, n_here // n_local, *v.shape[1:])) for v in values
                )
            ).unbatch()
        steps = tf.data.experimental.assert_cardinality(self.steps * n_local)
        return batches.apply(steps).prefetch(tf.data.AUTOTUNE)

    def ids(self, epoch, step):
        """Identifiers of the galaxies of a batch.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        list of str
        """
        batch = next(iter(self._records(epoch, ["id"]).skip(step)))
        return [id_.decode() for id_ in batch["id"].numpy()]


class ValidationData:
    """The validation split.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    """

    def __init__(self, settings):
        shape = len(settings.survey.bands), settings.cutouts.size
        self.batches = dataset(
            check_shards(settings.paths.records_manifest, "validation"),
            settings.inference.batch_size,
            *shape,
            columns=["image", "label"],
        )

    def measure(self, model, tick):
        """Measure a model.

        Parameters
        ----------
        model : keras.Model
        tick : callable
            Is told after each batch how far this is.

        Returns
        -------
        loss, area : float
            Binary cross-entropy, area under the ROC curve.
        lenses, others : ndarray of float64, (N,), (M,)
            Probabilities.
        """
        pairs = []
        for batch in self.batches:
            pairs.append((batch["label"].numpy(), predict(model, batch["image"].numpy())))
            tick(f"validation, {len(pairs)} batches")
        label, p = (
            np.concatenate(values).astype(np.float64) for values in zip(*pairs, strict=True)
        )
        lenses, others = p[label == 1], p[label == 0]
        return cross_entropy(label, p), auc(lenses, others), lenses, others
