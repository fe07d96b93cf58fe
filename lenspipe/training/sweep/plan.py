"""Which settings a sweep tries."""

import importlib.util
import itertools
import math
import random

from lenspipe.config.settings import nested
from lenspipe.utils.errors import LenspipeError

__all__ = ["as_taken", "check_sweep", "made_from", "name_of_trial", "of_trial", "trials"]


def check_sweep(settings):
    """Make sure that there is a sweep to run, and what it needs.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Raises
    ------
    LenspipeError
        Nothing is swept, or Optuna is asked for and not installed.
    """
    own = settings.sweep
    if not own.settings:
        raise LenspipeError(
            "config key sweep.settings: found none, expected keys of section training with the "
            "values to try (docs/sweep.md has an example)"
        )
    if own.method == "optuna" and importlib.util.find_spec("optuna") is None:
        raise LenspipeError(
            "config key sweep.method: found optuna, which is not installed; pip install "
            "'lenspipe[sweep]', or set it to random or grid"
        )


def name_of_trial(settings, number):
    """Name of a trial's model.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    number : int
        Of the trial, from 0.

    Returns
    -------
    str
        Such as ``resnet_trial_007``.
    """
    return f"{settings.training.name}_trial_{number:03d}"


def of_trial(settings, number, values):
    """Settings under which a trial is trained.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    number : int
        Of the trial, from 0.
    values : dict
        Key of section training, with dots below it -> value.

    Returns
    -------
    lenspipe.config.settings.Settings
        Always without ``training.refit``: trials are compared on the validation split.
    """
    own = settings.training.model_dump(mode="json")
    if values.get("network", own["network"]) != own["network"]:
        own["network_settings"] = {}  # they are another network's
    changes = {"refit": False, "network_settings": own["network_settings"]}
    for key, value in values.items():
        first = key.partition(".")[0]
        changes = nested({first: own[first]} | changes, key, value)
    return settings.of_model(name_of_trial(settings, number), **changes)


def trials(settings):
    """List the trials of a sweep.

    Those of a grid are all combinations, the last key changing fastest. Those of a random search
    depend on seed, number and key only: more trials, or one key more, leave the values of the
    others as they were.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    list of dict
        Of each trial key -> value, `as_taken`; None for each trial of Optuna, which proposes its
        values when it begins.
    """
    own = settings.sweep
    if own.method == "optuna":
        return [None] * own.n_trials
    if own.method == "random":
        chosen = (_draw_all(own.settings, settings.seed, k) for k in range(own.n_trials))
    else:
        product = itertools.product(*own.settings.values()) if own.settings else ()
        chosen = (dict(zip(own.settings, values, strict=True)) for values in product)
    return [as_taken(settings, number, values) for number, values in enumerate(chosen)]


def as_taken(settings, number, values):
    """A trial's values as section training has them once they are checked.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    number : int
        Of the trial, from 0.
    values : dict
        Key of section training, with dots below it -> value as the configuration lists it.

    Returns
    -------
    dict
        The same keys; a text that stands for a number is the number.
    """
    training = of_trial(settings, number, values).training.model_dump(mode="json")
    taken = {}
    for key in values:
        value = training
        for part in key.split("."):
            value = value[part]
        taken[key] = value
    return taken


def _draw_all(choices, seed, number):
    # A text as seed is hashed, so that neighbouring streams have nothing in common.
    return {
        key: _draw(values, random.Random(f"{seed} {number} {key}"))
        for key, values in choices.items()
    }


def _draw(values, rng):
    """Draw from a list, or from a range (to four digits)."""
    if isinstance(values, list):
        return rng.choice(values)
    low, high = values.low, values.high
    if values.is_whole:
        if not values.log:
            return rng.randint(low, high)
        return min(int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))), high)
    if values.log:
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
    else:
        value = rng.uniform(low, high)
    return min(max(float(f"{value:.4g}"), low), high)


def made_from(settings, number, values):
    """Settings that a trial depends on: if they change, it has to be run again.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    number : int
        Of the trial, from 0.
    values : dict or None
        As `trials` gives them.

    Returns
    -------
    dict
        Plain values. Not among them: the other trials and, but for Optuna, the false-positive rate.
    """
    if values is None:
        own = {"sweep": settings.sweep.model_dump(mode="json", exclude={"trials"})}
        training = settings.training.model_dump(mode="json", exclude={"refit"})
    else:
        own = {}
        training = of_trial(settings, number, values).training.model_dump(mode="json")
    return own | {"training": training, "seed": settings.seed}
