"""Folding of batch normalisation, a factor and a term per channel, into convolutions."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from lenspipe.utils.tensorflow import keras, tf

__all__ = ["fold"]


class _Same(keras.layers.Layer):
    """Replaces a normalisation that was folded into its convolution; takes the same arguments."""

    def call(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        return x


def fold(model: keras.Model) -> keras.Model:
    """Copy a trained network with batch normalisation folded into the convolutions before it.

    The copy gives the same scores from separate weights; models within the network are folded too.
    Normalisations are kept unless they follow a linear convolution whose result nothing else uses,
    and within a `keras.Sequential`.
    """
    pairs = {} if isinstance(model, keras.Sequential) else _normalised_convolutions(model)
    dropped = {layer.name for layer in pairs.values()}
    models = {layer.name: fold(layer) for layer in model.layers if isinstance(layer, keras.Model)}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in models:
            return models[layer.name]
        if layer.name in dropped:
            return _Same(name=layer.name)
        biased = {"use_bias": True} if layer.name in pairs else {}
        return layer.from_config(layer.get_config() | biased)

    folded = keras.models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        if layer.name in pairs:
            folded.get_layer(layer.name).set_weights(_merge(layer, pairs[layer.name]))
        elif layer.weights and layer.name not in dropped | set(models):
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    return folded


def _normalised_convolutions(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Name of each convolution that can be merged with its normalisation -> the normalisation."""
    layers = {layer.name: layer for layer in model.layers}
    calls = _calls(model)
    users = defaultdict(list)
    for name, sources in calls.items():
        for source in itertools.chain.from_iterable(sources):
            users[source].append(name)
    pairs = {}
    for name, layer in layers.items():
        if len(calls[name]) == 1 and len(users[name]) == 1:
            after = layers.get(users[name][0])
            if after and _can_merge(layer, after) and len(calls[after.name]) == 1:
                pairs[name] = after
    return pairs


def _can_merge(layer: keras.layers.Layer, after: keras.layers.Layer) -> bool:
    convolutions = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    if type(layer) not in convolutions or type(after) is not keras.layers.BatchNormalization:
        return False
    channels = {-1, 3} if layer.data_format == "channels_last" else {1, -3}
    return layer.activation is keras.activations.linear and after.axis in channels


def _calls(model: keras.Model) -> dict[str, list[list[str]]]:
    """Name of each layer -> for each of its calls, names of the layers whose results it takes."""
    layers = model.get_config()["layers"]
    return {
        layer["name"]: [list(_sources(call)) for call in layer["inbound_nodes"]] for layer in layers
    }


def _sources(config: Any) -> Iterator[str]:
    """Names of the layers that made the tensors in a call's configuration."""
    if isinstance(config, dict):
        if "keras_history" in config:
            yield config["keras_history"][0]
            return
        config = config.values()
    elif not isinstance(config, list | tuple):
        return
    for part in config:
        yield from _sources(part)


def _merge(layer: keras.layers.Layer, after: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of a convolution with the normalisation after it."""
    mean, variance = after.moving_mean.numpy(), after.moving_variance.numpy()
    factor = 1 / np.sqrt(variance + after.epsilon)
    factor = factor * after.gamma.numpy() if after.scale else factor
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else 0
    term = (bias - mean) * factor + (after.beta.numpy() if after.center else 0)
    # The last two axes of a depthwise kernel are channels and multiplier; others end in filters.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [kernel * (factor.reshape(kernel.shape[2:]) if depthwise else factor), term]
