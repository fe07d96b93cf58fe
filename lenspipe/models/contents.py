"""Contents of a model: its layers, those of models within it, and whether they are known."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lenspipe.models.layers import Normalise
from lenspipe.utils.tensorflow import keras

__all__ = [
    "count_parameters",
    "ensemble_members",
    "find_foreign",
    "layers_of",
    "normalisation",
    "synchronise",
    "with_member_outputs",
]

# Layers of Keras that run code held by their configuration.
_RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}

_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}

# Layers that `lenspipe.training.ensemble.join` gives the members' probabilities to.
_COMBINING = {"ensemble.mean", "ensemble.median", "ensemble.members"}


def layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Go through a model's layers, replacing each model among them by its layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        else:
            yield layer


def normalisation(model: keras.Model) -> list[Normalise]:
    """Find the layers that normalise: one in a network, one for each member of an ensemble."""
    return [layer for layer in layers_of(model) if isinstance(layer, Normalise)]


def count_parameters(model: keras.Model) -> int:
    """Count the trainable parameters."""
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def ensemble_members(model: keras.Model) -> list[keras.Model]:
    """List an ensemble's members, the models within it that normalise, in order."""
    return [
        layer for layer in model.layers if isinstance(layer, keras.Model) and normalisation(layer)
    ]


def with_member_outputs(model: keras.Model) -> tuple[keras.Model, list[str]]:
    """Add the probabilities of an ensemble's members to its output.

    The model maps cutouts to the probability of a lens, (N, 1). Return one to (N, 1 + K), the
    model's own probability, then those of its members, and the names of the K members. A network
    that is not an ensemble is returned unchanged.
    """
    combining = next((layer for layer in model.layers if layer.name in _COMBINING), None)
    if combining is None:
        return model, []
    both = keras.layers.Concatenate(name="ensemble.all")([model.output, *combining.input])
    names = [member.name for member in ensemble_members(model)]
    return keras.Model(model.input, both, name="ensemble"), names


def synchronise(model: keras.Model) -> None:
    """Let batch normalisation take its statistics over the whole batch, shared by all devices.

    The model is changed in place.
    """
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def find_foreign(config: Any) -> str | None:
    """Find an object in a model's configuration that lenspipe can't or should not load.

    Keras' safe mode refuses functions that are written out in the file. Here everything is refused
    except lenspipe's layers and Keras' own, without those that run code. The configuration is as
    returned by `keras.saving.serialize_keras_object`, or as read from a model's file. Return the
    name of the first class or function that is neither, if any.
    """
    if isinstance(config, dict):
        if "class_name" in config and "config" in config and not _is_known(config):
            inner = config["config"]
            named = isinstance(inner, str) and config["class_name"] == "function"
            return inner if named else str(config["class_name"])
        parts = list(config.values())
    else:
        parts = list(config) if isinstance(config, list | tuple) else []
    return next((name for part in parts if (name := find_foreign(part))), None)


def _is_known(config: dict[str, Any]) -> bool:
    name, module = config["class_name"], str(config.get("module"))
    if name in _VALUES:
        return True
    if name == "function":
        return hasattr(keras.activations, str(config["config"]))
    if module.startswith("lenspipe."):
        registered = str(config.get("registered_name"))
        return keras.saving.get_registered_object(registered) is not None
    return (module == "keras" or module.startswith("keras.")) and name not in _RUN_CODE
