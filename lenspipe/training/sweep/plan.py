"""Settings that a sweep tries."""

import importlib.util
import itertools
import math
import random
from typing import Any

from lenspipe.config.settings import Settings, nested
from lenspipe.config.stages import stage_parameters
from lenspipe.config.training import Range
from lenspipe.utils.errors import LenspipeError

__all__ = [
    "check_sweep",
    "trial_name",
    "trial_parameters",
    "trial_settings",
    "trials",
    "validated_values",
]


def check_sweep(settings: Settings) -> None:
    """Make sure that a sweep is configured and can run.

    Raises
    ------
    LenspipeError
        Nothing is swept, or Optuna is requested and not installed.
    """
    if not settings.sweep.settings:
        raise LenspipeError(
            "config key sweep.settings: found none, expected keys of section training with the "
            "values to try (docs/sweep.md has an example)"
        )
    if settings.sweep.method == "optuna" and importlib.util.find_spec("optuna") is None:
        raise LenspipeError(
            "config key sweep.method: found optuna, which is not installed; pip install "
            "'lenspipe[sweep]', or set it to random or grid"
        )


def trial_name(settings: Settings, number: int) -> str:
    """Name of a trial's model, such as ``resnet_trial_007``; numbers count from 0."""
    return f"{settings.training.name}_trial_{number:03d}"


def trial_settings(settings: Settings, number: int, values: dict[str, Any]) -> Settings:
    """Settings with which a trial is trained.

    They never have ``training.refit``: trials are compared on the validation split. The values are
    by keys of section training, nested ones with dots.
    """
    training = settings.training.model_dump(mode="json")
    if values.get("network", training["network"]) != training["network"]:
        training["network_settings"] = {}  # they belong to another network
    changes = {"refit": False, "network_settings": training["network_settings"]}
    for key, value in values.items():
        first = key.partition(".")[0]
        changes = nested({first: training[first]} | changes, key, value)
    return settings.of_model(trial_name(settings, number), **changes)


def trials(settings: Settings) -> list[dict[str, Any] | None]:
    """List the trials of a sweep.

    The trials of a grid are all combinations, the last key changing fastest. Those of a random
    search depend on seed, number and key only: more trials or more keys do not change the other
    values. Each trial is key -> value, as returned by `validated_values`; None for each trial of
    Optuna, which proposes the values when the trial begins.
    """
    sweep = settings.sweep
    if sweep.method == "optuna":
        return [None] * sweep.n_trials
    if sweep.method == "random":
        chosen = [_draw_all(sweep.settings, settings.seed, k) for k in range(sweep.n_trials)]
    else:
        product = itertools.product(*sweep.settings.values()) if sweep.settings else ()
        chosen = [dict(zip(sweep.settings, values, strict=True)) for values in product]
    return [validated_values(settings, number, values) for number, values in enumerate(chosen)]


def validated_values(settings: Settings, number: int, values: dict[str, Any]) -> dict[str, Any]:
    """Values of a trial as section training holds them: numbers, not strings that stand for one."""
    training = trial_settings(settings, number, values).training.model_dump(mode="json")
    validated = {}
    for key in values:
        value = training
        for part in key.split("."):
            value = value[part]
        validated[key] = value
    return validated


def _draw_all(choices: dict[str, list | Range], seed: int, number: int) -> dict[str, Any]:
    # A string as seed is hashed, so neighbouring streams are unrelated.
    return {
        key: _draw(values, random.Random(f"{seed} {number} {key}"))
        for key, values in choices.items()
    }


def _draw(values: list | Range, rng: random.Random) -> Any:
    """Draw from a list, or from a range (to four digits)."""
    if isinstance(values, list):
        return rng.choice(values)
    low, high = values.low, values.high
    if values.is_whole:
        if not values.log:
            return rng.randint(int(low), int(high))
        return min(int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))), high)
    if values.log:
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
    else:
        value = rng.uniform(low, high)
    return min(max(float(f"{value:.4g}"), low), high)


def trial_parameters(
    settings: Settings, number: int, values: dict[str, Any] | None
) -> dict[str, Any]:
    """What a trial depends on: if it changes, the trial has to be run again.

    Not included are the other trials and, except for Optuna, the false-positive rate. `values` are
    as returned by `trials`.
    """
    if values is None:
        return stage_parameters("proposal", settings)
    return stage_parameters("sweep_trial", trial_settings(settings, number, values))
