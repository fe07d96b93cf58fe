"""What is in a model: its layers, also those of models within it, and whether they are known."""

from lenspipe.models.layers import Normalise
from lenspipe.utils.tensorflow import keras

__all__ = ["foreign", "layers_of", "normalisation", "synchronise", "with_members"]

# Layers of Keras that run what their configuration holds.
_RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}

_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}


def layers_of(model):
    """Go through a model's layers and those of the models within it.

    Parameters
    ----------
    model : keras.Model

    Yields
    ------
    keras.layers.Layer
        No model, but what these are made of.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        else:
            yield layer


def normalisation(model):
    """Find the layers that normalise: one in a network, one for each member of an ensemble.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    list of Normalise
    """
    return [layer for layer in layers_of(model) if isinstance(layer, Normalise)]


def with_members(model):
    """Let an ensemble tell what each of its members says, in the same pass.

    Parameters
    ----------
    model : keras.Model
        From cutouts to the probability of a lens, (N, 1).

    Returns
    -------
    model : keras.Model
        To (N, 1 + K): the model's own probability, then its members'. A network is its own only.
    names : list of str
        Of the K members.
    """
    # The layer that takes the members' probabilities, by what `lenspipe.training.ensemble.join`
    # calls it.
    kinds = {"ensemble.mean", "ensemble.median", "ensemble.members"}
    combining = next((layer for layer in model.layers if layer.name in kinds), None)
    if combining is None:
        return model, []
    names = [member._keras_history.operation.name for member in combining.input]
    both = keras.layers.Concatenate(name="ensemble.all")([model.output, *combining.input])
    return keras.Model(model.input, both, name="ensemble"), names


def synchronise(model):
    """Let batch normalisation take its statistics over the parts of a batch on all devices.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    """
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def foreign(config):
    """Find in a model's configuration what lenspipe can't load, or should not.

    Keras' safe mode refuses functions that are written out in the file. Here all is refused but
    layers of Keras' own, without those that run code, and lenspipe's.

    Parameters
    ----------
    config : object
        As `keras.saving.serialize_keras_object` returns it, or as read from a model's file.

    Returns
    -------
    str or None
        Name of the first class or function that is neither.
    """
    if isinstance(config, dict):
        if "class_name" in config and "config" in config and not _is_known(config):
            inner = config["config"]
            named = isinstance(inner, str) and config["class_name"] == "function"
            return inner if named else str(config["class_name"])
        parts = config.values()
    else:
        parts = config if isinstance(config, list | tuple) else ()
    return next((found for part in parts if (found := foreign(part))), None)


def _is_known(config):
    name, module = config["class_name"], str(config.get("module"))
    if name in _VALUES:
        return True
    if name == "function":
        return hasattr(keras.activations, str(config["config"]))
    if module.startswith("lenspipe."):
        registered = str(config.get("registered_name"))
        return keras.saving.get_registered_object(registered) is not None
    return (module == "keras" or module.startswith("keras.")) and name not in _RUN_CODE
