"""Random changes of cutouts during training.

The random numbers are drawn with the batch, and the pixels are changed on the device that trains:
on the GPU if there is one. The numbers travel with their example, so it is changed in the same way
whichever device it ends up on.
"""

import math

from lenspipe.config.training import Augmentation
from lenspipe.utils.tensorflow import tf

__all__ = ["N_DRAWS", "augment", "draw"]

#: Random numbers used per example.
N_DRAWS = 8


def draw(n: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw the random numbers of n examples, float32 (N, 8) between 0 and 1; the seed is a pair."""
    return tf.random.stateless_uniform((n, N_DRAWS), seed)


def augment(
    images: tf.Tensor,
    draws: tf.Tensor,
    augmentation: Augmentation,
    noise_nmgy: tf.Tensor | float = 0.0,
) -> tf.Tensor:
    """Change cutouts at random.

    Parameters
    ----------
    images
        Cutouts, float32 (N, B, S, S), nanomaggies.
    draws
        As returned by `draw`.
    noise_nmgy
        Noise of each band, float32 (B, 1, 1), for ``augmentation.noise``.

    Notes
    -----
    Arbitrary angles, zooms and shifts by fractions of a pixel need bilinear interpolation, which
    smooths the noise. Pixels shifted out of the image on one side enter on the other, as in
    CMU DeepLens (arXiv:1703.02642, section 3.3).
    """
    if augmentation.symmetries:
        chosen = tf.transpose(draws[:, :3])[:, :, None, None, None] < 0.5
        images = tf.where(chosen[0], tf.reverse(images, [2]), images)
        images = tf.where(chosen[1], tf.reverse(images, [3]), images)
        images = tf.where(chosen[2], tf.transpose(images, (0, 1, 3, 2)), images)
    if augmentation.rotation_deg or augmentation.shift_pixels or augmentation.zoom != (1.0, 1.0):
        images = _resample(images, draws[:, 3:7], augmentation)
    if augmentation.noise:
        seed = tf.cast(draws[0, 6:8] * 2.0**30, tf.int32)
        noise = tf.random.stateless_normal(tf.shape(images), seed)
        images += augmentation.noise * noise_nmgy * noise
    return images


def _resample(images: tf.Tensor, draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Rotate, zoom and shift: look up where each pixel of the result lies in the image."""
    either_way = 2 * draws - 1
    angle = math.radians(augmentation.rotation_deg) * either_way[:, 0]
    smallest, largest = augmentation.zoom
    scale = smallest + (largest - smallest) * draws[:, 1]
    shift = augmentation.shift_pixels * either_way[:, 2:4]
    _, bands, size, _ = images.shape
    middle = (size - 1) / 2
    y, x = (
        tf.reshape(axis, (1, -1))
        for axis in tf.meshgrid(*2 * [tf.range(size, dtype=tf.float32) - middle], indexing="ij")
    )
    cos, sin = (scale * tf.cos(angle))[:, None], (scale * tf.sin(angle))[:, None]
    x, y = (
        tf.math.floormod(cos * x - sin * y + middle + shift[:, :1], size),
        tf.math.floormod(sin * x + cos * y + middle + shift[:, 1:], size),
    )
    # Rounding may raise a position to the size itself, which is position 0 again.
    left, top = tf.cast(x, tf.int32) % size, tf.cast(y, tf.int32) % size
    right, bottom = (left + 1) % size, (top + 1) % size
    fraction_x, fraction_y = (tf.expand_dims(v - tf.floor(v), 1) for v in (x, y))
    pixels = tf.reshape(images, (-1, bands, size * size))

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, row * size + column, axis=2, batch_dims=1)

    upper = at(top, left) * (1 - fraction_x) + at(top, right) * fraction_x
    lower = at(bottom, left) * (1 - fraction_x) + at(bottom, right) * fraction_x
    return tf.reshape(upper * (1 - fraction_y) + lower * fraction_y, (-1, bands, size, size))
