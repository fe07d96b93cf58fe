"""The network that combines the probabilities of others (arXiv:2508.20087)."""

from lenspipe.utils.tensorflow import keras

__all__ = ["stacker"]


def stacker(members=2, hidden=300, seed=0):
    """Make the network: the members' probabilities, a hidden layer, one sigmoid unit.

    The sizes are the paper's, 2-300-1. It does not say what is between; here it is ReLU. The
    probabilities are taken as they are: in logits a member that is sure of everything would
    outweigh the others by the size of its numbers alone.

    Parameters
    ----------
    members : int
        Networks that are combined.
    hidden : int
        Units in the hidden layer.
    seed : int
        Of the first weights.

    Returns
    -------
    keras.Model
        From the members' probabilities, (N, members), to one, (N, 1).

    Examples
    --------
    >>> stacker().count_params()
    1201
    """
    first, second = (keras.initializers.GlorotUniform(seed + i) for i in range(2))
    inputs = keras.Input((members,), name="members")
    x = keras.layers.Dense(hidden, activation="relu", kernel_initializer=first)(inputs)
    # Single precision also where the members' halves would do: ranks are kept.
    outputs = keras.layers.Dense(
        1, activation="sigmoid", kernel_initializer=second, dtype="float32", name="p"
    )(x)
    return keras.Model(inputs, outputs, name="stacker")
