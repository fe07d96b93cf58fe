"""Batch normalisation, once trained, is a factor and a term per channel: part of a convolution."""

import numpy as np

from lenspipe.utils.tensorflow import keras

__all__ = ["fold"]


class _Same(keras.layers.Layer):
    """In place of a normalisation that is part of its convolution; takes the same arguments."""

    def call(self, x, **_):
        return x


def fold(model):
    """Copy a trained network with batch normalisation folded into the convolutions before it.

    Parameters
    ----------
    model : keras.Model
        Models within it are folded too.

    Returns
    -------
    keras.Model
        Gives the same, and has weights of its own. Normalisations that follow anything but a linear
        convolution whose result nothing else uses stay as they are.
    """
    pairs = {layer.name: after for layer in model.layers if (after := _normalised(layer))}
    dropped = {layer.name for layer in pairs.values()}
    models = {layer.name: fold(layer) for layer in model.layers if isinstance(layer, keras.Model)}

    def copy(layer):
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


def _normalised(layer):
    """Return the batch normalisation that a convolution can take in, else None."""
    kinds = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    if type(layer) not in kinds or layer.activation is not keras.activations.linear:
        return None
    # Called once, used once, and by what is itself called once.
    nodes = [*layer._inbound_nodes, *layer._outbound_nodes]
    after = nodes[-1].operation
    if len(nodes) != 2 or type(after) is not keras.layers.BatchNormalization:
        return None
    channels = {-1, 3} if layer.data_format == "channels_last" else {1, -3}
    return after if len(after._inbound_nodes) == 1 and after.axis in channels else None


def _merge(layer, after):
    """Kernel and bias of a convolution with the normalisation after it."""
    mean, variance = after.moving_mean.numpy(), after.moving_variance.numpy()
    factor = 1 / np.sqrt(variance + after.epsilon)
    factor = factor * after.gamma.numpy() if after.scale else factor
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else 0
    term = (bias - mean) * factor + (after.beta.numpy() if after.center else 0)
    # A depthwise kernel ends in channels and how many each becomes; others in what comes out.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [kernel * (factor.reshape(kernel.shape[2:]) if depthwise else factor), term]
