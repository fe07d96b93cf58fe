"""What the networks are made of: normalisation and the bottleneck unit."""

import numpy as np

from lenspipe._tensorflow import keras
from lenspipe.errors import LenspipeError

__all__ = ["Normalise", "bottleneck", "head", "stem"]

#: Standard deviation of a normal distribution in units of its median absolute deviation.
SIGMA_PER_MAD = 1.4826


@keras.saving.register_keras_serializable("lenspipe")
class Normalise(keras.layers.Layer):
    """Turn nanomaggies into units of each band's noise.

    Pixels that are not finite become the sky level; then the sky level is subtracted, the result
    divided by the noise and clipped (CMU DeepLens, arXiv:1703.02642, section 3.1, which subtracts
    the mean image instead of a level per band). Level and noise are weights: they are saved with
    the model and not trained.

    Parameters
    ----------
    bands : list of str
        Names of the bands, kept so that a model can tell what it was made for.
    clip_sigma : float
        Largest absolute value after division.
    compress : bool
        Whether to return the inverse hyperbolic sine of the result, which keeps faint arcs and
        galaxy cores in one range.
    **kwargs
        Of `keras.layers.Layer`.
    """

    def __init__(self, bands, clip_sigma=250.0, compress=False, **kwargs):
        # Half precision would lose faint pixels before they are divided by the noise.
        super().__init__(**{"dtype": "float32", "trainable": False} | kwargs)
        self.bands = list(bands)
        self.clip_sigma = clip_sigma
        self.compress = compress

    def build(self, input_shape):
        """Make the weights ``level_nmgy`` and ``noise_nmgy``, each (B, 1, 1)."""
        shape = (len(self.bands), 1, 1)
        self.level_nmgy = self.add_weight(name="level", shape=shape, initializer="zeros")
        self.noise_nmgy = self.add_weight(name="noise", shape=shape, initializer="ones")

    def adapt(self, images):
        """Measure level and noise: median and scaled median absolute deviation of each band.

        Parameters
        ----------
        images : ndarray of float32, (N, B, S, S)
            Cutouts of the training split, nanomaggies; a thousand are plenty.

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

    def call(self, images):
        """Normalise (N, B, S, S) nanomaggies."""
        ops = keras.ops
        images = ops.where(ops.isfinite(images), images, self.level_nmgy)
        scaled = (images - self.level_nmgy) / self.noise_nmgy
        scaled = ops.clip(scaled, -self.clip_sigma, self.clip_sigma)
        return ops.arcsinh(scaled) if self.compress else scaled

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return the arguments that make an equal layer."""
        own = {"bands": self.bands, "clip_sigma": self.clip_sigma, "compress": self.compress}
        return super().get_config() | own


def _convolution(x, filters, kernel, strides=1, bias=False):
    return keras.layers.Conv2D(
        filters, kernel, strides, padding="same", use_bias=bias, kernel_initializer="he_normal"
    )(x)


def _activated(x):
    return keras.layers.Activation("elu")(
        keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-4)(x)
    )


def stem(bands, size, filters, kernel, stride, clip_sigma, compress, crop):
    """Begin a network: cutouts in nanomaggies, normalised, channels last, first convolution.

    Parameters
    ----------
    bands : list of str
        Names of the bands, in order.
    size : int
        Side of a cutout, pixels.
    filters, kernel, stride : int
        Of the first convolution.
    clip_sigma, compress
        Of `Normalise`.
    crop : int or None
        Side of the central part that is kept, pixels.

    Returns
    -------
    inputs, x : keras tensors
        (B, S, S) as in the cutouts' files; (S', S', filters), activated.
    """
    inputs = keras.Input((len(bands), size, size), name="image")
    x = inputs
    if crop is not None:
        if not 0 < crop <= size or (size - crop) % 2:
            raise ValueError(f"crop must be odd and at most {size}, found {crop}")
        x = keras.layers.Cropping2D((size - crop) // 2, data_format="channels_first")(x)
    x = Normalise(bands, clip_sigma, compress, name="normalise")(x)
    x = keras.layers.Permute((2, 3, 1))(x)  # the only layout that convolutions on CPUs know
    return inputs, _activated(_convolution(x, filters, kernel, stride))


def bottleneck(x, mid, out, stride=1, activate=True):
    """Add a pre-activated bottleneck unit (arXiv:1703.02642, section 3.2).

    Parameters
    ----------
    x : keras tensor
        (S, S, C).
    mid, out : int
        Channels of the first two convolutions, and of the last.
    stride : int
        Of the first convolution.
    activate : bool
        False where `x` is activated already.

    Returns
    -------
    keras tensor
        (S / stride, S / stride, out).
    """
    activated = _activated(x) if activate else x
    shortcut = x
    if stride != 1 or x.shape[-1] != out:
        shortcut = _convolution(activated, out, 1, stride, bias=True)
    y = _activated(_convolution(activated, mid, 1, stride))
    y = _activated(_convolution(y, mid, 3))
    return keras.layers.Add()([_convolution(y, out, 1, bias=True), shortcut])


def head(inputs, x, name):
    """End a network: global average pool and one sigmoid unit, in single precision.

    Parameters
    ----------
    inputs : keras tensor
        Of the network.
    x : keras tensor
        (S, S, C).
    name : str
        Of the network.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).
    """
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="p")(x)
    return keras.Model(inputs, outputs, name=name)
