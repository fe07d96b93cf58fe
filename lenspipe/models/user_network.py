"""Networks of the user's own: a function in a Python file."""

import importlib.util
import traceback
from pathlib import Path

from lenspipe.config.paths import network_source
from lenspipe.models.contents import foreign, normalisation
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

__all__ = ["build_own", "load_function"]


def load_function(name):
    """Load the function that makes a network from the file that holds it.

    Parameters
    ----------
    name : str
        Path of a Python file, a colon, name of a function in it.

    Returns
    -------
    callable

    Raises
    ------
    LenspipeError
        There is no such file or function, or the file can't be run.
    """
    path = network_source(name)
    function = name.rpartition(":")[2]
    if not path.is_file():
        raise LenspipeError(
            f"config key training.network: found {name!r}, but there is no file {path}; expected "
            "a Python file, a colon and a function in it; correct the path"
        )
    spec = importlib.util.spec_from_file_location(f"lenspipe_network_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LenspipeError(f"{path}: can't be run: {_where(error, path)}; correct it") from error
    made = getattr(module, function, None)
    if not callable(made):
        raise LenspipeError(
            f"{path}: found no function {function!r}, which config key training.network names; "
            "define it or name another"
        )
    return made


def build_own(name, function, bands, size, settings):
    """Make a network of the user's own and make sure that lenspipe can train and load it.

    Parameters
    ----------
    name : str
        As in the configuration.
    function : callable
        Called with bands (list of str), size (int, pixels) and the settings.
    bands : list of str
        Names of the bands, in the order of the cutouts.
    size : int
        Side of a cutout, pixels.
    settings : dict
        ``training.network_settings``.

    Returns
    -------
    keras.Model

    Raises
    ------
    LenspipeError
        The function raises, or what it returns is no network of the required kind.
    """
    path, what = network_source(name), f"{name.rpartition(':')[2]}()"
    try:
        model = function(list(bands), size, **settings)
    except Exception as error:
        raise LenspipeError(
            f"{path}: {what} failed with bands {','.join(bands)}, size {size} and settings "
            f"{settings}: {_where(error, path)}; correct it"
        ) from error
    if not isinstance(model, keras.Model):
        raise LenspipeError(
            f"{path}: {what} returned {type(model).__name__}, expected a keras.Model"
        )
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    expected = (None, len(bands), size, size), (None, 1)
    if shapes != expected:
        raise LenspipeError(
            f"{path}: {what} returned a model from {shapes[0]} to {shapes[1]}, expected one from "
            f"{expected[0]} (bands, size, size) to {expected[1]}; begin with "
            "lenspipe.models.layers.stem and end with head"
        )
    found = [",".join(layer.bands) for layer in normalisation(model)]
    if set(found) != {",".join(bands)}:
        raise LenspipeError(
            f"{path}: {what} returned a model with layers Normalise for bands {found}, expected "
            f"one for {','.join(bands)}; begin with lenspipe.models.layers.stem"
        )
    _check_loads(model, f"{path}: {what}")
    return model


def _check_loads(model, what):
    """Make sure that scoring, which knows nothing of the user's file, can load the model."""
    try:
        config = keras.saving.serialize_keras_object(model)
        odd = foreign(config)
        if odd is None:
            keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise LenspipeError(
            f"{what} returned a model that can't be saved and loaded "
            f"({' '.join(str(error).split())[:200]}); use Keras' own layers and lenspipe's"
        ) from error
    if odd:
        raise LenspipeError(
            f"{what} returned a model with {odd}, which could not be loaded for scoring; use "
            "Keras' own layers and lenspipe's, no Lambda and no class of your own"
        )


def _where(error, path):
    """An error in one line, with the line of the file where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" + (f" (line {line})" if line else "")
