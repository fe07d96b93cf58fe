"""User-defined networks: a function in a Python file."""

import importlib.util
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenspipe.config.paths import network_source
from lenspipe.models.contents import find_foreign, normalisation
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

__all__ = ["build_user_network", "load_network_function"]


def load_network_function(name: str) -> Callable[..., Any]:
    """Load the function that ``training.network`` (file.py:function) names.

    Raises
    ------
    LenspipeError
        There is no such file or function, or the file can't be executed.
    """
    path = network_source(name)
    assert path is not None
    if not path.is_file():
        raise LenspipeError(
            f"config key training.network: found {name!r}, but there is no file {path}; expected "
            "a Python file, a colon and a function in it; correct the path"
        )
    spec = importlib.util.spec_from_file_location(f"lenspipe_network_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LenspipeError(
            f"{path}: can't be run: {_format_error(error, path)}; correct it"
        ) from error
    function_name = name.rpartition(":")[2]
    function = getattr(module, function_name, None)
    if not callable(function):
        raise LenspipeError(
            f"{path}: found no function {function_name!r}, which config key training.network "
            "names; define it or name another"
        )
    return function


def build_user_network(
    name: str,
    function: Callable[..., Any],
    bands: Sequence[str],
    size: int,
    settings: dict[str, Any],
) -> keras.Model:
    """Build a user-defined network and make sure that lenspipe can train and load it.

    Parameters
    ----------
    name
        ``training.network``.
    function
        Called with the bands (a list), the size and the settings.
    bands, size
        Names of the bands, in order; side of a cutout, pixels.
    settings
        ``training.network_settings``.

    Raises
    ------
    LenspipeError
        The function raises an error, or does not return a suitable network.
    """
    path, call = network_source(name), f"{name.rpartition(':')[2]}()"
    assert path is not None
    try:
        model = function(list(bands), size, **settings)
    except Exception as error:
        raise LenspipeError(
            f"{path}: {call} failed with bands {','.join(bands)}, size {size} and settings "
            f"{settings}: {_format_error(error, path)}; correct it"
        ) from error
    if not isinstance(model, keras.Model):
        raise LenspipeError(
            f"{path}: {call} returned {type(model).__name__}, expected a keras.Model"
        )
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    expected = (None, len(bands), size, size), (None, 1)
    if shapes != expected:
        raise LenspipeError(
            f"{path}: {call} returned a model from {shapes[0]} to {shapes[1]}, expected one from "
            f"{expected[0]} (bands, size, size) to {expected[1]}; begin with "
            "lenspipe.models.layers.stem and end with head"
        )
    normalised = [",".join(layer.bands) for layer in normalisation(model)]
    if set(normalised) != {",".join(bands)}:
        raise LenspipeError(
            f"{path}: {call} returned a model with layers Normalise for bands {normalised}, "
            f"expected one for {','.join(bands)}; begin with lenspipe.models.layers.stem"
        )
    _check_loads(model, f"{path}: {call}")
    return model


def _check_loads(model: keras.Model, source: str) -> None:
    """Make sure that scoring, which does not read the user's file, can load the model."""
    try:
        config = keras.saving.serialize_keras_object(model)
        foreign = find_foreign(config)
        if foreign is None:
            keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise LenspipeError(
            f"{source} returned a model that can't be saved and loaded "
            f"({' '.join(str(error).split())[:200]}); use only layers of Keras and lenspipe"
        ) from error
    if foreign:
        raise LenspipeError(
            f"{source} returned a model with {foreign}, which could not be loaded for scoring; use "
            "only layers of Keras and lenspipe, no Lambda and no class of your own"
        )


def _format_error(error: Exception, path: Path) -> str:
    """Format an error in one line, with the line of the file where it occurred."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" + (f" (line {line})" if line else "")
