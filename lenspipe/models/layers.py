"""Building blocks of the networks: normalisation, bottleneck unit, combination of members."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras, tf

__all__ = ["Median", "Normalise", "begin", "bottleneck", "head", "stem"]

#: Standard deviation of a normal distribution in units of its median absolute deviation.
SIGMA_PER_MAD = 1.4826


@keras.saving.register_keras_serializable("lenspipe")
class Normalise(keras.layers.Layer):
    """Convert nanomaggies to units of each band's noise.

    Pixels that are not finite become the sky level; then the sky level is subtracted, the result
    divided by the noise and clipped (CMU DeepLens, arXiv:1703.02642, section 3.1, which subtracts
    the mean image instead of a level per band). Level and noise are weights: they are saved with
    the model and not trained.

    Parameters
    ----------
    bands
        Names of the bands, kept so that a model knows which cutouts it was made for.
    clip_sigma
        Maximum absolute value after division.
    compress
        Whether to return the inverse hyperbolic sine of the result, which compresses the range
        between faint arcs and galaxy cores.
    **kwargs
        Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        bands: Sequence[str],
        clip_sigma: float = 250.0,
        compress: bool = False,
        **kwargs: Any,
    ) -> None:
        # In half precision faint pixels would be lost before they are divided by the noise.
        super().__init__(**{"dtype": "float32", "trainable": False} | kwargs)
        self.bands = list(bands)
        self.clip_sigma = clip_sigma
        self.compress = compress

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights ``level_nmgy`` and ``noise_nmgy``, each (B, 1, 1)."""
        shape = (len(self.bands), 1, 1)
        self.level_nmgy = self.add_weight(name="level", shape=shape, initializer="zeros")
        self.noise_nmgy = self.add_weight(name="noise", shape=shape, initializer="ones")

    def adapt(self, images: np.ndarray) -> None:
        """Measure level and noise: median and scaled median absolute deviation of each band.

        They are measured on cutouts of the training split, float32 (N, B, S, S), nanomaggies;
        hundreds are enough.

        Raises
        ------
        LenspipeError
            A band has no finite pixel, or all its pixels are equal.
        """
        pixels = np.moveaxis(np.asarray(images), 1, 0).reshape(len(self.bands), -1)
        level = np.zeros(len(pixels))
        noise = np.zeros(len(pixels))
        for i, values in enumerate(pixels):
            values = values[np.isfinite(values)]
            if values.size:
                level[i] = np.median(values)
                noise[i] = SIGMA_PER_MAD * np.median(np.abs(values - level[i]))
            if not noise[i] > 0:
                raise LenspipeError(
                    f"sample: the training cutouts have no noise in band {self.bands[i]}; expected "
                    "images with sky noise; look at the cutouts of that band"
                )
        self.level_nmgy.assign(level[:, None, None])
        self.noise_nmgy.assign(noise[:, None, None])

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Normalise (N, B, S, S) nanomaggies."""
        ops = keras.ops
        images = ops.where(ops.isfinite(images), images, self.level_nmgy)
        scaled = (images - self.level_nmgy) / self.noise_nmgy
        scaled = ops.clip(scaled, -self.clip_sigma, self.clip_sigma)
        return ops.arcsinh(scaled) if self.compress else scaled

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        arguments = {"bands": self.bands, "clip_sigma": self.clip_sigma, "compress": self.compress}
        return super().get_config() | arguments


@keras.saving.register_keras_serializable("lenspipe")
class Median(keras.layers.Layer):
    """Median of the members' probabilities; for an even number, the mean of the middle two."""

    def call(self, members: list[tf.Tensor]) -> tf.Tensor:
        """Combine a list of K tensors (N, 1) into one (N, 1)."""
        ordered = keras.ops.sort(keras.ops.concatenate(members, axis=1), axis=1)
        low, high = (len(members) - 1) // 2, len(members) // 2
        return (ordered[:, low : low + 1] + ordered[:, high : high + 1]) / 2

    def compute_output_shape(
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """Return the shape of a member's probabilities."""
        return input_shape[0]


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, strides: int = 1, bias: bool = False
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters, kernel, strides, padding="same", use_bias=bias, kernel_initializer="he_normal"
    )(x)


def _activated(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Activation("elu")(
        keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-4)(x)
    )


def begin(
    bands: Sequence[str],
    size: int,
    clip_sigma: float = 250.0,
    compress: bool = False,
    crop: int | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Begin a network: cutouts in nanomaggies, cropped, normalised, channels last.

    Return its input, (B, S, S) as in the cutouts' files, and (crop, crop, B), in units of the
    noise.

    Parameters
    ----------
    bands, size
        Names of the bands, in order; side of a cutout, pixels.
    clip_sigma, compress
        As for `Normalise`.
    crop
        Side of the central region that is kept, pixels; everything if not given.

    Raises
    ------
    ValueError
        The crop is even or larger than the cutout.
    """
    inputs = keras.Input((len(bands), size, size), name="image")
    x = inputs
    if crop is not None:
        if not 0 < crop <= size or (size - crop) % 2:
            raise ValueError(f"crop must be odd and at most {size}, found {crop}")
        x = keras.layers.Cropping2D((size - crop) // 2, data_format="channels_first")(x)
    x = Normalise(bands, clip_sigma, compress, name="normalise")(x)
    # On CPUs convolutions support channels last only.
    return inputs, keras.layers.Permute((2, 3, 1))(x)


def stem(
    bands: Sequence[str],
    size: int,
    filters: int = 32,
    kernel: int = 7,
    stride: int = 1,
    clip_sigma: float = 250.0,
    compress: bool = False,
    crop: int | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Begin a network as `begin` does and add its first convolution.

    The results are (B, S, S) as in the cutouts' files, and (S', S', filters), activated.

    Raises
    ------
    ValueError
        As `begin`.
    """
    inputs, x = begin(bands, size, clip_sigma, compress, crop)
    return inputs, _activated(_convolution(x, filters, kernel, stride))


def bottleneck(
    x: keras.KerasTensor, mid: int, out: int, stride: int = 1, activate: bool = True
) -> keras.KerasTensor:
    """Add a pre-activated bottleneck unit (arXiv:1703.02642, section 3.2).

    From (S, S, C) to (S / stride, S / stride, out). `mid` and `out` are the channels of the first
    two convolutions, and of the last; `activate` is False where `x` is already activated.
    """
    activated = _activated(x) if activate else x
    shortcut = x
    if stride != 1 or x.shape[-1] != out:
        shortcut = _convolution(activated, out, 1, stride, bias=True)
    y = _activated(_convolution(activated, mid, 1, stride))
    y = _activated(_convolution(y, mid, 3))
    return keras.layers.Add()([_convolution(y, out, 1, bias=True), shortcut])


def head(
    inputs: keras.KerasTensor, x: keras.KerasTensor, name: str, dropout: float = 0.0
) -> keras.Model:
    """End a network: global average pool and one sigmoid unit, in single precision.

    The model maps cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1). `x` is
    (S, S, C), or (C,) where it is already pooled; a fraction `dropout` of the C numbers is dropped
    at random during training.
    """
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="p")(x)
    return keras.Model(inputs, outputs, name=name)
