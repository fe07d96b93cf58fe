"""Networks that tell classes of non-lenses apart, and still give the probability of a lens."""

from collections.abc import Sequence

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

__all__ = ["CLASSES", "class_probabilities", "with_classes"]

#: Name of the layer with the probabilities of the classes: other non-lens, lens, and the others.
CLASSES = "classes"

_LENS = 1


def with_classes(model: keras.Model, classes: Sequence[str]) -> keras.Model:
    """Replace the last unit of a network by one for each class, of which the lens is the output.

    The probabilities of all classes are a softmax over other non-lenses, lenses and the given
    classes of non-lenses. The model's output is that of a lens, (N, 1), as before.

    Raises
    ------
    LenspipeError
        The network does not end with one dense unit.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise LenspipeError(
            f"config key training.classes: the network ends with {type(last).__name__}, expected "
            "one unit of Dense, which the classes replace; end it with lenspipe.models.layers.head"
        )
    probabilities = keras.layers.Dense(
        2 + len(classes), activation="softmax", dtype="float32", name=CLASSES
    )(last.input)
    outputs = probabilities[:, _LENS : _LENS + 1]
    return keras.Model(model.input, outputs, name=model.name)


def class_probabilities(model: keras.Model) -> keras.Model:
    """Return a network to the probabilities of all classes, (N, K), with the weights of the model.

    A model without classes is returned as it is.
    """
    layer = next((layer for layer in model.layers if layer.name == CLASSES), None)
    return model if layer is None else keras.Model(model.input, layer.output, name=model.name)
