"""Activations: what the stages of a network respond to."""

import contextlib

import numpy as np

from lenspipe.models.contents import layers_of, normalisation
from lenspipe.utils.tensorflow import keras

__all__ = ["features", "stages"]

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)

# They only bring a map to the size that the next layer asks for.
_MARGINS = (keras.layers.Cropping2D, keras.layers.ZeroPadding2D)


def stages(model, images):
    """Run a model and keep the last maps of each size.

    Parameters
    ----------
    model : keras.Model
        Any that lenspipe trains: its layers may be models of their own.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.

    Returns
    -------
    list of dict
        In the order in which they are made; maps that follow each other in one size are one stage.
        ``member`` (name of an ensemble's network, else empty), ``maps`` (ndarray of float32,
        (N, S', S', C)) and ``convolutions``, how many made them from those before.
    """
    members = [m for m in model.layers if isinstance(m, keras.Model) and normalisation(m)]
    found = []
    for member in members or [model]:
        found += _stages_of(member, images, member.name if members else "")
    return found


def _stages_of(model, images, name):
    found, convolutions = [], 0

    def keep(layer, output):
        nonlocal convolutions
        convolutions += isinstance(layer, _CONVOLUTIONS)
        maps = _as_maps(output)
        if maps is None or isinstance(layer, _MARGINS):
            return
        stage = {"member": name, "maps": maps, "convolutions": convolutions}
        if found and found[-1]["maps"].shape[1] == maps.shape[1]:
            stage["convolutions"] += found.pop()["convolutions"]
        found.append(stage)
        convolutions = 0

    with _watched(layers_of(model), keep):
        model(images, training=False)
    return found


def features(model, images, batch_size=64):
    """Run a model and keep what its last layer of neurons works on.

    Parameters
    ----------
    model : keras.Model
        Of an ensemble its first member.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    batch_size : int

    Returns
    -------
    ndarray of float32, (N, K)
        The last list of several numbers that a layer makes of a cutout; where none does, the mean
        of each of the last maps.
    """
    members = [m for m in model.layers if isinstance(m, keras.Model) and normalisation(m)]
    model = members[0] if members else model
    kept = {}

    def keep(_, output):
        shape = getattr(output, "shape", ())
        if len(shape) == 2 and shape[1] > 1:
            kept["numbers"] = output
        elif (maps := _as_maps(output)) is not None:
            kept["maps"] = maps.mean(axis=(1, 2))

    parts = []
    with _watched(layers_of(model), keep):
        for start in range(0, len(images), batch_size):
            model(images[start : start + batch_size], training=False)
            parts.append(np.asarray(kept.get("numbers", kept["maps"]), np.float32))
    return np.concatenate(parts)


def _as_maps(output):
    """Maps with channels last; None where an output is not made of square maps."""
    shape = getattr(output, "shape", ())
    if len(shape) != 4:
        return None
    if shape[1] == shape[2] > 1:
        return np.asarray(output, np.float32)
    if shape[2] == shape[3] > 1:
        return np.moveaxis(np.asarray(output, np.float32), 1, -1)
    return None


@contextlib.contextmanager
def _watched(layers, keep):
    """Tell what each of some layers returns while the block runs.

    A model made of the layers' own tensors would not do: those within a model that is a layer
    itself are not connected to the outer one's input.
    """

    def watch(layer):
        call = layer.call

        def call_and_tell(*args, **kwargs):
            output = call(*args, **kwargs)
            keep(layer, output)
            return output

        layer.call = call_and_tell

    watched = list({id(layer): layer for layer in layers}.values())
    try:
        for layer in watched:
            watch(layer)
        yield
    finally:
        for layer in watched:
            vars(layer).pop("call", None)
