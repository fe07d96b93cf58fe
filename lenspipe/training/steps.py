"""The steps of an epoch, and what can go wrong in them."""

import time

import numpy as np

from lenspipe.models.contents import normalisation
from lenspipe.training.augmentation import augment
from lenspipe.training.optimisation import loss_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, tf

__all__ = ["Steps", "Ticker"]

#: Most steps between two looks at the losses; a look waits for the device.
_LOOK_EVERY = 20

#: Least time between two lines within an epoch, seconds.
_LINE_SECONDS = 10

#: Factor of loss scaling below which a training is lost; it begins at 32768.
_LEAST_SCALE = 1e-3

#: Galaxies of a bad batch that are named in the message.
_NAMED = 5


class Ticker:
    """Lines in the log within a long epoch.

    Parameters
    ----------
    what : str
        Begins each line.
    """

    def __init__(self, what):
        self.what = what
        self.last = time.monotonic()

    def __call__(self, text):
        """Log a line unless there was one a moment ago."""
        if self.is_due():
            self.last = time.monotonic()
            log.info("%s: %s", self.what, text)

    def is_due(self):
        """Whether the last line was long ago."""
        return time.monotonic() - self.last > _LINE_SECONDS


class Steps:
    """Trains a network batch by batch, on one device or on several.

    Keras' own `fit` is not used: Keras 3.15 does not take the batches of several machines, and its
    loop waits for the device after each step.

    Parameters
    ----------
    model : keras.Model
        Compiled, so that its optimiser is saved with it.
    data : lenspipe.training.data.TrainingData
    own : lenspipe.config.training.Training
    compiled : bool, optional
        Whether to compile with XLA; by default on a GPU. Several devices exchange numbers within a
        step, which XLA can't.
    """

    def __init__(self, model, data, own, compiled=bool(gpus)):
        self.model, self.data, self.own = model, data, own
        self.loss = loss_of(own)
        strategy = data.devices.strategy
        one_device = data.devices.n_replicas == 1
        on_device = tf.function(self._on_device, jit_compile=compiled and one_device)

        def on_all_devices(*batch):
            return strategy.reduce("SUM", strategy.run(on_device, batch), axis=None)

        self.step = on_device if one_device else tf.function(on_all_devices)

    def _on_device(self, images, draws, labels, weights):
        model, optimizer = self.model, self.model.optimizer
        noise = normalisation(model)[0].noise_nmgy
        images = augment(images, draws, self.own.augmentation, noise)
        with tf.GradientTape() as tape:
            losses = self.loss(labels, model(images, training=True))
            loss = tf.reduce_sum(losses * weights[:, 0]) / self.data.batch_size
            # Penalties of a network, some of them perhaps in half precision.
            penalties = [tf.cast(penalty, tf.float32) for penalty in model.losses]
            loss += sum(penalties) / self.data.devices.n_replicas
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        if self.data.devices.n_replicas > 1:
            # Loss scaling looks at one device's gradients only: an overflow anywhere must be seen
            # by all.
            spoiled = tf.add_n([tf.reduce_sum(0 * gradient) for gradient in gradients])
            spoiled = tf.distribute.get_replica_context().all_reduce("SUM", spoiled)
            gradients = [gradient + tf.cast(spoiled, gradient.dtype) for gradient in gradients]
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        return loss

    def run(self, epoch, tick):
        """Train for an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        tick : Ticker

        Returns
        -------
        float
            Mean loss.

        Raises
        ------
        LenspipeError
            The loss is not finite, or memory ran out.
        """
        _reseed(self.model, epoch * self.data.steps)
        losses, looked_at = [], 0
        try:
            for batch in self.data.epoch(epoch):
                losses.append(self.step(*batch))
                many = len(losses) - looked_at == _LOOK_EVERY or len(losses) == self.data.steps
                if many or tick.is_due():
                    self._look(epoch, losses, looked_at)
                    looked_at = len(losses)
                    tick(f"{len(losses)} steps, loss {np.mean(losses):.4f}")
        except tf.errors.OpError as error:
            if "RESOURCE_EXHAUSTED" in str(error) or "OOM" in str(error):
                raise self._out_of_memory() from error
            raise
        return float(np.mean(losses))

    def _look(self, epoch, losses, first):
        """Stop if a loss is not finite; they are plain numbers afterwards."""
        losses[first:] = [float(loss) for loss in losses[first:]]
        bad = np.flatnonzero(~np.isfinite(losses[first:]))
        # Halved at each step whose gradients overflow: where none is finite it sinks and sinks.
        scale = getattr(self.model.optimizer, "dynamic_scale", None)
        if bad.size == 0 and (scale is None or float(scale.numpy()) >= _LEAST_SCALE):
            return
        step = first + int(bad[0]) if bad.size else len(losses) - 1
        ids = self.data.ids(epoch, step)
        settings = self.data.settings
        path = settings.paths.model(self.own.name, "not-finite.txt")
        with atomic(path) as temporary:
            temporary.write_text("".join(f"{id_}\n" for id_ in ids))
        raise LenspipeError(
            f"training of {self.own.name}: the "
            + (f"loss is not finite ({losses[step]})" if bad.size else "gradients are not finite")
            + f" in epoch {epoch + 1}, step {step + 1}; lower training.learning_rate (found "
            f"{self.own.learning_rate:g}) and look at the cutouts of that batch, "
            f"{', '.join(ids[:_NAMED])}{', ...' if len(ids) > _NAMED else ''} ({path} has all "
            f"{len(ids)})"
        )

    def _out_of_memory(self):
        devices, size = self.data.devices, self.data.batch_size
        smaller = size // 2 // devices.n_replicas * devices.n_replicas
        advice = (
            f"set it to {smaller}" if smaller else "a smaller one can't be divided between them"
        )
        return LenspipeError(
            f"config key training.batch_size: {devices.name} ran out of memory with batches of "
            f"{size}; {advice} and run again"
        )


def _reseed(model, step):
    """Let what a network draws at random (dropout) be as after that many steps undisturbed."""
    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            first = int(variable.numpy()[0])
            variable.assign([first, step])
