"""Steps of an epoch, and the errors that can end it."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config.training import Training
from lenspipe.models.classes import class_probabilities
from lenspipe.models.contents import normalisation
from lenspipe.training.augmentation import augment
from lenspipe.training.data import Batches
from lenspipe.training.optimisation import loss_function
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, keras, tf

__all__ = ["ProgressLogger", "Steps"]

#: Maximum number of steps between two checks of the losses; a check waits for the device.
_CHECK_EVERY = 20

#: Minimum time between two log lines within an epoch, seconds.
_LINE_SECONDS = 10

#: Loss scale below which a training has failed; it starts at 32768.
_MIN_SCALE = 1e-3

#: Number of galaxies of a bad batch that the message names.
_NAMED = 5


class ProgressLogger:
    """Logs the progress within a long epoch.

    Each line starts with the label.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.last = time.monotonic()

    def __call__(self, text: str) -> None:
        """Log a line unless the last one was logged only just before."""
        if self.is_due():
            self.last = time.monotonic()
            log.info("%s: %s", self.label, text)

    def is_due(self) -> bool:
        """Whether enough time has passed for another line."""
        return time.monotonic() - self.last > _LINE_SECONDS


class Steps:
    """Trains a network batch by batch, on one device or on several.

    Keras' own `fit` is not used: Keras 3.15 does not accept the batches of several machines, and
    its loop waits for the device after each step.

    Parameters
    ----------
    model
        Compiled, so that its optimiser is saved with it.
    folder
        Folder of the model; ``not-finite.txt`` there lists the galaxies of a batch whose loss is
        not finite.
    compiled
        Whether to compile with XLA; by default on a GPU. Never with several devices, which exchange
        numbers within a step: XLA can't do that.
    """

    def __init__(
        self,
        model: keras.Model,
        data: Batches,
        training: Training,
        folder: Path,
        compiled: bool = bool(gpus),
    ) -> None:
        self.model, self.data, self.training, self.folder = model, data, training, folder
        self.loss = loss_function(training)
        self.probabilities = class_probabilities(model)
        strategy = data.devices.strategy
        one_device = data.devices.n_replicas == 1
        # Nothing branches on values of tensors: AutoGraph would rewrite all code for nothing.
        on_device = tf.function(
            self._on_device, jit_compile=compiled and one_device, autograph=False
        )

        def on_all_devices(*batch: Any) -> tf.Tensor:
            return strategy.reduce("SUM", strategy.run(on_device, batch), axis=None)

        self.step = on_device if one_device else tf.function(on_all_devices, autograph=False)

    def _on_device(
        self, images: tf.Tensor, draws: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        model, optimizer = self.model, self.model.optimizer
        noise = normalisation(model)[0].noise_nmgy
        images = augment(images, draws, self.training.augmentation, noise)
        with tf.GradientTape() as tape:
            losses = self.loss(labels, self.probabilities(images, training=True))
            loss = tf.reduce_sum(losses * weights[:, 0]) / self.data.batch_size
            # Regularisation losses of the network may be in half precision.
            penalties = [tf.cast(penalty, tf.float32) for penalty in self.probabilities.losses]
            loss += sum(penalties) / self.data.devices.n_replicas
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        if self.data.devices.n_replicas > 1:
            # Loss scaling checks the gradients of one device only, but all devices have to notice
            # an overflow on any of them.
            overflow = tf.add_n([tf.reduce_sum(0 * gradient) for gradient in gradients])
            overflow = tf.distribute.get_replica_context().all_reduce("SUM", overflow)
            gradients = [gradient + tf.cast(overflow, gradient.dtype) for gradient in gradients]
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        return loss

    def run(self, epoch: int, progress: ProgressLogger) -> float:
        """Train for an epoch (from 0) and return the mean loss.

        Raises
        ------
        LenspipeError
            The loss is not finite, or memory ran out.
        """
        _reseed(self.model, epoch * self.data.steps)
        losses: list[Any] = []
        n_checked = 0
        try:
            for batch in self.data.epoch(epoch):
                losses.append(self.step(*batch))
                is_last = len(losses) == self.data.steps
                if len(losses) - n_checked == _CHECK_EVERY or is_last or progress.is_due():
                    self._check(epoch, losses, n_checked)
                    n_checked = len(losses)
                    progress(f"{len(losses)} steps, loss {np.mean(losses):.4f}")
        except tf.errors.OpError as error:
            if "RESOURCE_EXHAUSTED" in str(error) or "OOM" in str(error):
                raise self._out_of_memory() from error
            raise
        return float(np.mean(losses))

    def _check(self, epoch: int, losses: list[Any], first: int) -> None:
        """Raise an error if a loss from `first` on is not finite; convert these to numbers."""
        losses[first:] = [float(loss) for loss in losses[first:]]
        bad = np.flatnonzero(~np.isfinite(losses[first:]))
        # Each step whose gradients overflow halves the scale: if none is finite it keeps falling.
        scale = getattr(self.model.optimizer, "dynamic_scale", None)
        if bad.size == 0 and (scale is None or float(scale.numpy()) >= _MIN_SCALE):
            return
        step = first + int(bad[0]) if bad.size else len(losses) - 1
        ids = self.data.ids(epoch, step)
        path = self.folder / "not-finite.txt"
        with atomic(path) as temporary:
            temporary.write_text("".join(f"{id_}\n" for id_ in ids))
        raise LenspipeError(
            f"training of {self.training.name}: the "
            + (f"loss is not finite ({losses[step]})" if bad.size else "gradients are not finite")
            + f" in epoch {epoch + 1}, step {step + 1}; lower training.learning_rate (found "
            f"{self.training.learning_rate:g}) and look at the cutouts of that batch, "
            f"{', '.join(ids[:_NAMED])}{', ...' if len(ids) > _NAMED else ''} ({path} has all "
            f"{len(ids)})"
        )

    def _out_of_memory(self) -> LenspipeError:
        devices, size = self.data.devices, self.data.batch_size
        smaller = size // 2 // devices.n_replicas * devices.n_replicas
        advice = (
            f"set it to {smaller}" if smaller else "a smaller one can't be divided between them"
        )
        return LenspipeError(
            f"config key training.batch_size: {devices.name} ran out of memory with batches of "
            f"{size}; {advice} and run again"
        )


def _reseed(model: keras.Model, step: int) -> None:
    """Set the random states of the network (dropout) as after that many uninterrupted steps."""
    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            first = int(variable.numpy()[0])
            variable.assign([first, step])
