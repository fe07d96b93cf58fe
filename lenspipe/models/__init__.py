"""Networks, by name."""

import inspect

from lenspipe.errors import LenspipeError
from lenspipe.models.cmu_deeplens import cmu_deeplens
from lenspipe.models.layers import Normalise
from lenspipe.models.shielded_resnet import shielded_resnet

__all__ = ["NETWORKS", "Normalise", "build"]

#: Name in the configuration -> function that makes the network.
NETWORKS = {"cmu_deeplens": cmu_deeplens, "shielded_resnet": shielded_resnet}


def build(name, bands=("g", "r", "z"), size=101, **settings):
    """Make an untrained network.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    bands : sequence of str
        Names of the bands, in the order of the cutouts.
    size : int
        Side of a cutout, pixels.
    **settings
        Arguments of the network's own function.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1). Its layer
        ``normalise`` has to be adapted to the training split (`Normalise.adapt`).

    Raises
    ------
    LenspipeError
        No network of that name, or a setting that it does not have or can't work with.

    Examples
    --------
    >>> build("cmu_deeplens", size=61, widths=[8, 16], units=1).output_shape
    (None, 1)
    """
    if name not in NETWORKS:
        raise LenspipeError(
            f"config key training.network: found {name!r}, expected one of {', '.join(NETWORKS)}"
        )
    known = list(inspect.signature(NETWORKS[name]).parameters)[2:]
    if unknown := [key for key in settings if key not in known]:
        raise LenspipeError(
            f"config key training.network_settings.{unknown[0]}: {name} has no such setting; "
            f"known: {', '.join(known)}"
        )
    try:
        return NETWORKS[name](list(bands), size, **settings)
    except (TypeError, ValueError) as error:
        raise LenspipeError(
            f"config key training.network_settings: {name} can't be made from {settings}: {error}; "
            "docs/networks.md describes each setting"
        ) from error
