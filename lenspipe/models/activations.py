"""Activations: what the stages of a network respond to."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lenspipe.models.classes import CLASSES
from lenspipe.models.contents import ensemble_members, layers_of
from lenspipe.utils.tensorflow import keras

__all__ = ["features", "stages"]

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)

# They only bring a map to the size that the next layer needs.
_MARGINS = (keras.layers.Cropping2D, keras.layers.ZeroPadding2D)


def stages(model: keras.Model, images: np.ndarray) -> list[dict[str, Any]]:
    """Run a model and keep the last maps of each size.

    Cutouts are float32 (N, B, S, S), nanomaggies. Stages are in order of computation; consecutive
    maps of one size are one stage. Each has ``member`` (name of an ensemble's network, else empty),
    ``maps`` (float32, (N, S', S', C)) and ``convolutions``, the number of convolutions since the
    previous stage.
    """
    members = {member.name: member for member in ensemble_members(model)} or {"": model}
    return [stage for name, member in members.items() for stage in _stages(member, images, name)]


def _stages(model: keras.Model, images: np.ndarray, name: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    convolutions = 0

    def keep(layer: keras.layers.Layer, output: Any) -> None:
        nonlocal convolutions
        convolutions += isinstance(layer, _CONVOLUTIONS)
        maps = _as_maps(output)
        if maps is None or isinstance(layer, _MARGINS):
            return
        stage = {"member": name, "maps": maps, "convolutions": convolutions}
        if result and result[-1]["maps"].shape[1] == maps.shape[1]:
            stage["convolutions"] += result.pop()["convolutions"]
        result.append(stage)
        convolutions = 0

    with _watched(layers_of(model), keep):
        model(images, training=False)
    return result


def features(model: keras.Model, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Run a model and keep the input of its last dense layer, that of probabilities.

    Cutouts are float32 (N, B, S, S), nanomaggies. Features, float32 (N, K), are the last vector of
    several numbers that a layer computes for a cutout; if there is none, the mean of each of the
    last maps. Of an ensemble the first member is used.
    """
    members = ensemble_members(model)
    model = members[0] if members else model
    last = {}

    def keep(layer: keras.layers.Layer, output: Any) -> None:
        shape: Any = getattr(output, "shape", ())
        if len(shape) == 2 and shape[1] > 1 and layer.name != CLASSES:
            last["vector"] = output
        elif (maps := _as_maps(output)) is not None:
            last["maps"] = maps.mean(axis=(1, 2))

    parts = []
    with _watched(layers_of(model), keep):
        for start in range(0, len(images), batch_size):
            model(images[start : start + batch_size], training=False)
            parts.append(np.asarray(last.get("vector", last["maps"]), np.float32))
    return np.concatenate(parts)


def _as_maps(output: Any) -> np.ndarray | None:
    """Maps with channels last; None if an output does not consist of square maps."""
    shape: Any = getattr(output, "shape", ())
    if len(shape) != 4:
        return None
    if shape[1] == shape[2] > 1:
        return np.asarray(output, np.float32)
    if shape[2] == shape[3] > 1:
        return np.moveaxis(np.asarray(output, np.float32), 1, -1)
    return None


@contextlib.contextmanager
def _watched(
    layers: Iterator[keras.layers.Layer], keep: Callable[[keras.layers.Layer, Any], None]
) -> Iterator[None]:
    """Pass the output of each layer to a function while the block runs.

    A model built from the layers' own tensors would not work: the tensors of a model that is itself
    a layer are not connected to the outer model's input.
    """

    def watch(layer: keras.layers.Layer) -> None:
        call = layer.call

        def call_and_keep(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            keep(layer, output)
            return output

        layer.call = call_and_keep

    watched = list({id(layer): layer for layer in layers}.values())
    try:
        for layer in watched:
            watch(layer)
        yield
    finally:
        for layer in watched:
            vars(layer).pop("call", None)
