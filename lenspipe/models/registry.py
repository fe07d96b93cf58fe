"""Networks by name."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lenspipe.config.paths import network_source
from lenspipe.config.training import NETWORKS as NAMES
from lenspipe.models.user_network import build_user_network, load_network_function
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

__all__ = ["NETWORKS", "build"]

#: Name in the configuration -> function that makes the network: that of the module of this name.
NETWORKS: dict[str, Callable[..., keras.Model]] = {
    name: getattr(importlib.import_module(f"lenspipe.models.{name}"), name) for name in NAMES
}


def build(
    name: str, bands: Sequence[str] = ("g", "r", "z"), size: int = 101, **settings: Any
) -> keras.Model:
    """Build an untrained network.

    Parameters
    ----------
    name
        One of `NETWORKS`; or the path of a user's Python file, a colon, and the name of a function
        in it that takes bands and size and returns a network.
    bands
        Names of the bands, in the order of the cutouts.
    size
        Side of a cutout, pixels.
    **settings
        Further arguments of the network's function.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1). Its layer
        ``normalise`` has to be adapted to the training split (`Normalise.adapt`).

    Raises
    ------
    LenspipeError
        No network of that name, an unknown or invalid setting, or a user-defined network that
        lenspipe could not train or load.

    Examples
    --------
    >>> build("cmu_deeplens", size=61, widths=[8, 16], units=1).output_shape
    (None, 1)
    """
    is_user_defined = network_source(name) is not None
    if not is_user_defined and name not in NETWORKS:
        raise LenspipeError(
            f"config key training.network: found {name!r}, expected one of {', '.join(NETWORKS)}, "
            "or a Python file and a function in it (my_networks.py:tiny)"
        )
    function = load_network_function(name) if is_user_defined else NETWORKS[name]
    known = list(inspect.signature(function).parameters.values())[2:]
    takes_all = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known)
    names = [parameter.name for parameter in known]
    if (unknown := [key for key in settings if key not in names]) and not takes_all:
        raise LenspipeError(
            f"config key training.network_settings.{unknown[0]}: {name} has no such setting; "
            f"known: {', '.join(names) or 'none'}"
        )
    if is_user_defined:
        return build_user_network(name, function, list(bands), size, settings)
    try:
        return function(list(bands), size, **settings)
    except (TypeError, ValueError) as error:
        raise LenspipeError(
            f"config key training.network_settings: {name} can't be built from {settings}: "
            f"{' '.join(str(error).split())}; docs/networks.md describes each setting"
        ) from error
