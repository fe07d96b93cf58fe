"""The network that combines the probabilities of several networks (arXiv:2508.20087)."""

from lenspipe.utils.tensorflow import keras

__all__ = ["stacker"]


def stacker(members: int = 2, hidden: int = 300, seed: int = 0) -> keras.Model:
    """Build the network: probabilities (N, members), a hidden layer, one sigmoid unit.

    The sizes are the paper's, 2-300-1. It does not state the activation in between; here it is
    ReLU. The inputs are probabilities rather than logits: a member with extreme logits would
    dominate the others by their size alone.

    Examples
    --------
    >>> stacker().count_params()
    1201
    """
    first, second = (keras.initializers.GlorotUniform(seed + i) for i in range(2))
    inputs = keras.Input((members,), name="members")
    x = keras.layers.Dense(hidden, activation="relu", kernel_initializer=first)(inputs)
    # Single precision even if the policy is half precision: otherwise ranks would be lost.
    outputs = keras.layers.Dense(
        1, activation="sigmoid", kernel_initializer=second, dtype="float32", name="p"
    )(x)
    return keras.Model(inputs, outputs, name="stacker")
