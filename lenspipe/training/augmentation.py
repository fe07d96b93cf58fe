"""Random changes of cutouts while training.

Random numbers are drawn with the batch, the pixels are changed where the network is: on the GPU, if
there is one. An example's numbers go where the example goes, so that it is changed alike on
whichever device it ends up.
"""

import math

from lenspipe.utils.tensorflow import tf

__all__ = ["N_DRAWS", "augment", "draw"]

#: Random numbers that an example needs.
N_DRAWS = 8


def draw(n, seed):
    """Draw the random numbers of a batch.

    Parameters
    ----------
    n : int
        Examples.
    seed : tensor of int, (2,)
        The same seed gives the same numbers.

    Returns
    -------
    tensor of float32, (N, 8)
        Evenly between 0 and 1.
    """
    return tf.random.stateless_uniform((n, N_DRAWS), seed)


def augment(images, draws, own, noise_nmgy=0.0):
    """Change cutouts at random.

    Parameters
    ----------
    images : tensor of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    draws : tensor of float32, (N, 8)
        As `draw` gives them.
    own : lenspipe.config.training.Augmentation
        Which changes.
    noise_nmgy : tensor of float32, (B, 1, 1)
        Noise of each band, for ``own.noise``.

    Returns
    -------
    tensor of float32, (N, B, S, S)

    Notes
    -----
    Any angle, zoom or shift by parts of a pixel interpolates between pixels (bilinear), which
    smooths the noise; what leaves the image on one side enters on the other, as in CMU DeepLens
    (arXiv:1703.02642, section 3.3).
    """
    if own.symmetries:
        chosen = tf.transpose(draws[:, :3])[:, :, None, None, None] < 0.5
        images = tf.where(chosen[0], tf.reverse(images, [2]), images)
        images = tf.where(chosen[1], tf.reverse(images, [3]), images)
        images = tf.where(chosen[2], tf.transpose(images, (0, 1, 3, 2)), images)
    if own.rotation_deg or own.shift_pixels or own.zoom != (1.0, 1.0):
        images = _resample(images, draws[:, 3:7], own)
    if own.noise:
        seed = tf.cast(draws[0, 6:8] * 2.0**30, tf.int32)
        noise = tf.random.stateless_normal(tf.shape(images), seed)
        images += own.noise * noise_nmgy * noise
    return images


def _resample(images, draws, own):
    """Turn, enlarge and shift: look up each pixel of the result at its place in the image."""
    either_way = 2 * draws - 1
    angle = math.radians(own.rotation_deg) * either_way[:, 0]
    scale = own.zoom[0] + (own.zoom[1] - own.zoom[0]) * draws[:, 1]
    shift = own.shift_pixels * either_way[:, 2:4]
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
    # Rounding may lift a place to the size itself, which is place 0 again.
    left, top = tf.cast(x, tf.int32) % size, tf.cast(y, tf.int32) % size
    right, bottom = (left + 1) % size, (top + 1) % size
    part_x, part_y = (tf.expand_dims(v - tf.floor(v), 1) for v in (x, y))
    pixels = tf.reshape(images, (-1, bands, size * size))

    def at(row, column):
        return tf.gather(pixels, row * size + column, axis=2, batch_dims=1)

    upper = at(top, left) * (1 - part_x) + at(top, right) * part_x
    lower = at(bottom, left) * (1 - part_x) + at(bottom, right) * part_x
    return tf.reshape(upper * (1 - part_y) + lower * part_y, (-1, bands, size, size))
