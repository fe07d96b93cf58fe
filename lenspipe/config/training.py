"""Sections on networks: training, ensembles, sweeps and evaluation."""

import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from lenspipe.config.base import Fraction, PathText, Positive, PositiveInt, Section, merged
from lenspipe.config.texts import read_yaml
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import expanded

__all__ = [
    "RECIPES",
    "Augmentation",
    "Ensemble",
    "Evaluation",
    "Range",
    "ShippedTraining",
    "Sweep",
    "Training",
]

#: Folder of the published recipes, one YAML file each.
RECIPES = Path(__file__).parent / "recipes"

#: Built-in networks.
NETWORKS = ("cmu_deeplens", "shielded_resnet", "efficientnet_v2")

_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"

#: Keys that a sweep can't change -> reason.
_NOT_SWEPT = {
    "name": "a trial's name is its number",
    "recipe": "sweep the keys that recipes differ in",
    "refit": "trials are compared on a validation split that they never trained on",
}

#: Maximum number of trials of a sweep: all are listed whenever the Snakefile is read.
_MAX_TRIALS = 10_000

_NotNegative = Annotated[float, Field(ge=0)]

_SettingOfNetwork = int | float | bool | str | None | list[int]


class Augmentation(Section):
    """Random transformations of cutouts during training, on the GPU if there is one."""

    symmetries: bool = Field(
        True,
        description="Rotations by 90 degrees and reflections: the eight symmetries of the square "
        "with equal probability.",
    )
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="Maximum angle of an additional rotation in either direction, degrees."
    )
    zoom: tuple[Positive, Positive] = Field(
        (1.0, 1.0),
        description="Minimum and maximum fraction of the cutout's side that fills the image.",
    )
    shift_pixels: _NotNegative = Field(
        0.0, description="Maximum shift along each axis in either direction, pixels."
    )
    noise: _NotNegative = Field(
        0.0,
        description="Additional noise, standard deviation in units of the noise of the band.",
    )

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the first fraction must not be above the second")
        return value


class Training(Section):
    """The network and its training."""

    recipe: PathText | None = Field(
        None,
        description="Published recipe (`poster`, `paper1`, `paper2`, `paper3`, `paper4_resnet`, "
        "`paper4_efficientnet`), or your own YAML file, with values for the keys of this section "
        "that the configuration does not give.",
    )
    name: str = Field("resnet", pattern=_NAME, description="Name of the trained model.")
    network: PathText = Field(
        "cmu_deeplens",
        description="Architecture: `cmu_deeplens`, `shielded_resnet`, `efficientnet_v2`; or a "
        "function in your own Python file, `my_networks.py:tiny`.",
    )
    network_settings: dict[str, _SettingOfNetwork] = Field(
        default_factory=dict, description="Arguments of the network; see docs/networks.md."
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**31,
        description="Seed of the initial weights, the order of the sample and its augmentation. "
        "None: that of the run.",
    )
    epochs: PositiveInt = Field(120, description="Number of passes over the training split.")
    batch_size: PositiveInt = Field(
        128, description="Cutouts per step, summed over all GPUs and machines."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Optimiser.")
    optimizer_settings: dict[str, float | bool] = Field(
        default_factory=dict,
        description="Arguments of the Keras optimiser, such as weight_decay, momentum, clipnorm.",
    )
    learning_rate: Positive = Field(1e-3, description="Initial learning rate, after the warm-up.")
    warmup_epochs: int = Field(
        0, ge=0, description="Number of epochs over which the rate rises to learning_rate."
    )
    schedule: Literal["steps", "cosine"] = Field(
        "steps",
        description="Decrease of the learning rate: by decay_factor at each of decay_epochs, or as "
        "a cosine to 0 at the last epoch.",
    )
    decay_epochs: tuple[PositiveInt, ...] = Field(
        (40, 80), description="Epochs at which the learning rate is multiplied by decay_factor."
    )
    decay_factor: Positive = Field(0.1, description="Factor for the steps of decay_epochs.")
    loss: Literal["binary_crossentropy", "focal"] = Field(
        "binary_crossentropy",
        description="Loss function; `focal` is that of arXiv 1708.02002 with gamma = 2.",
    )
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Classes of non-lenses that the network learns to tell apart: tags of graded "
        "galaxies and kinds of confusing ones, such as ring or spiral. Empty: lenses and "
        "non-lenses only. See docs/training.md.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Label smoothing s: a label y becomes (1 - s) y + s / 2."
    )
    lens_weight: Positive | None = Field(
        None,
        description="Weight of a lens in the loss. None: balances the classes, up to a factor of "
        "10.",
    )
    augmentation: Augmentation = Field(default_factory=Augmentation, description="See below.")
    monitor: Literal["auc", "loss"] = Field(
        "auc", description="Metric on the validation split by which epochs are compared."
    )
    keep: Literal["settled", "best", "last"] = Field(
        "settled",
        description="Epoch whose weights are kept. settled: the best one at the final learning "
        "rate (for a cosine schedule, in the last tenth of the epochs); best: the best of all; "
        "last: the last.",
    )
    patience: PositiveInt | None = Field(
        None,
        description="Number of epochs without improvement, of those that `keep` considers, after "
        "which training stops. None: never.",
    )
    refit: bool = Field(
        False,
        description="Whether to train again, from the beginning, on the training and validation "
        "splits together. That model is used; validation metrics are those of the first training.",
    )
    strategy: Literal["auto", "one", "mirrored", "workers"] = Field(
        "auto",
        description="Devices to train on: one device, all GPUs of a machine, or several machines. "
        "`auto`: all that are available; see docs/training.md.",
    )
    mixed_precision: bool = Field(
        True, description="Whether to use half precision on GPUs; never used on CPUs."
    )

    @field_validator("network")
    @classmethod
    def _known_network(cls, value: str) -> str:
        if value not in NETWORKS and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", value):
            raise ValueError(
                f"expected one of {', '.join(NETWORKS)}, or a function in a Python file, "
                "file.py:function"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.patience and self.keep == "last":
            raise ValueError("patience: found with keep: last, which compares no epochs")
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_recipe(cls, value: Any) -> Any:
        name = value.get("recipe") if isinstance(value, dict) else None
        if not isinstance(name, str):
            return value
        recipe = read_recipe(name)
        try:
            cls.model_validate(recipe)
        except ValidationError as error:
            wrong = error.errors()[0]
            key, reason = ".".join(map(str, wrong["loc"])), wrong["msg"]
            raise ValueError(
                f"recipe: {name} has {key}: {wrong['input']!r}: {reason}; correct that file"
            ) from None
        return _override(recipe, value)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return this section with other values for some keys.

        Parameters
        ----------
        changes
            Key -> value; maps are merged key by key. If there is a recipe among them, only
            strategy and mixed_precision are taken from this section.

        Raises
        ------
        pydantic.ValidationError
            A key or value is wrong.
        """
        values = self.model_dump(mode="json")
        if "recipe" in changes:
            values = {key: values[key] for key in ("strategy", "mixed_precision")}
        return type(self).model_validate(_override(values, changes))


def _override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into a section; settings of a replaced network or optimiser are dropped."""
    for kind in ("network", "optimizer"):
        default = Training.model_fields[kind].default
        if changes.get(kind, values.get(kind)) != values.get(kind, default):
            values = {key: value for key, value in values.items() if key != f"{kind}_settings"}
    return merged(values, changes)


def read_recipe(name: str) -> dict[str, Any]:
    """Read values of keys of `Training` from a published recipe or a YAML file.

    Raises
    ------
    ValueError
        There is no such recipe, or it can't be read.
    """
    name = expanded(name)
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise ValueError(f"recipe: found {name!r}, expected one of {known}, or your own YAML file")
    try:
        content = read_yaml(path)
    except LenspipeError as error:
        raise ValueError(f"recipe: {error}") from None
    if "recipe" in content:
        raise ValueError(f"recipe: {path} must hold keys of section training, without recipe")
    return content


class Ensemble(Section):
    """Several networks combined into one model, which is named `training.name`."""

    members: dict[Annotated[str, Field(pattern=_NAME)], dict] = Field(
        default_factory=dict,
        description="Name of each network -> its values of keys of section training. Empty: one "
        "network, no ensemble.",
    )
    combine: Literal["mean", "median", "stacker"] = Field(
        "mean",
        description="Combination of their probabilities; `stacker` is a small network trained on "
        "them in the validation split (arXiv 2508.20087).",
    )
    hidden: PositiveInt = Field(300, description="Number of units in the stacker's hidden layer.")

    @field_validator("members")
    @classmethod
    def _several(cls, value: dict[str, dict]) -> dict[str, dict]:
        if len(value) == 1:
            raise ValueError("expected at least two members")
        return value


class ShippedTraining(Section):
    """Training of the model that comes with lenspipe, on simulated stamps alone."""

    lenses: PositiveInt = Field(5000, description="Simulated lenses to train on.")
    non_lenses: PositiveInt = Field(10000, description="Simulated non-lenses to train on.")
    held_out: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2,
        description="Further stamps of both classes on which the model is judged, as a fraction of "
        "those that it is trained on.",
    )
    members: PositiveInt = Field(3, description="Networks whose probabilities are averaged.")
    epochs: PositiveInt = Field(12, description="Passes over the stamps for each network.")
    batch_size: PositiveInt = Field(32, description="Stamps per step.")
    learning_rate: Positive = Field(
        0.004,
        description="Learning rate after the first epoch, which has half of it; it then falls as a "
        "cosine to 0.",
    )
    crop: PositiveInt = Field(75, description="Side of the central region that is seen, pixels.")
    stride: PositiveInt = Field(3, description="Stride of the first convolution, pixels.")
    width: PositiveInt = Field(
        32, description="Channels of the first of three stages; the next have twice as many each."
    )
    units: PositiveInt = Field(1, description="Units in a stage.")
    shift: Annotated[int, Field(ge=0, le=4)] = Field(
        2, description="Augmentation: maximum shift along each axis, whole pixels."
    )
    noise: _NotNegative = Field(
        0.3, description="Augmentation: additional noise in units of the noise of the band."
    )
    blur: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.22,
        description="Augmentation: maximum weight of either neighbouring pixel in a smoothing "
        "along both axes, of half of the stamps.",
    )
    colour: _NotNegative = Field(
        0.12,
        description="Augmentation: standard deviation of the logarithm of a factor on the flux of "
        "each band.",
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of the stamps and the networks.")
    version: str = Field("1", min_length=1, description="Version of the model, for its card.")

    @field_validator("crop")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    def training(self, member: int) -> Training:
        """Return the training of one of the networks; members count from 0."""
        return Training(
            name=f"member_{member + 1}",
            network="cmu_deeplens",
            network_settings={
                "widths": [self.width, 2 * self.width, 4 * self.width],
                "units": self.units,
                "stem_filters": self.width,
                "stem_stride": self.stride,
                "compress": True,
            },
            seed=(1009 * self.seed + member) % 2**31,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_epochs=1 if self.epochs > 1 else 0,
            schedule="cosine",
            keep="last",
            augmentation=Augmentation(noise=self.noise),
        )


class Range(Section):
    """Range of values of a setting; integers if both limits are."""

    low: int | float = Field(description="Minimum value.")
    high: int | float = Field(description="Maximum value.")
    log: bool = Field(False, description="Whether to draw uniformly in the logarithm.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("expected low below high, and above 0 where log is true")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Sweep(Section):
    """A search for the best settings of the training; `snakemake sweep` runs it."""

    method: Literal["grid", "random", "optuna"] = Field(
        "grid",
        description="Choice of trials. grid: all combinations; random: `trials` random ones; "
        "optuna: `trials` proposed by Optuna, which also stops unpromising ones (`pip install "
        "'lenspipe[sweep]'`).",
    )
    trials: PositiveInt = Field(20, description="Number of trials of `random` and `optuna`.")
    settings: dict[str, list | Range] = Field(
        default_factory=dict,
        description="Key of section training (nested keys with dots, `augmentation.noise`) -> list "
        "of values, or map with low, high and, optionally, log. `grid` accepts only lists.",
    )
    fpr: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="False-positive rate at which trials are compared by their completeness on the "
        "validation split.",
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _lists_or_ranges(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        problems = [line for key in value for line in _wrong_key(key)]
        checked = {}
        for key, values in value.items():
            checked[key] = values
            if isinstance(values, dict):
                try:
                    checked[key] = Range.model_validate(values)
                except ValidationError as error:
                    problems += [_wrong_range(key, wrong) for wrong in error.errors()]
            elif values == [] or not isinstance(values, list | Range):
                problems.append(
                    f"{key}: found {values!r}, expected a list of values, or a map with low, high "
                    "and, optionally, log"
                )
        if problems:
            raise ValueError("; ".join(dict.fromkeys(problems)))
        return checked

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ranges = [key for key, values in self.settings.items() if isinstance(values, Range)]
        if self.method == "grid" and ranges:
            raise ValueError(
                f"settings.{ranges[0]}: found a range, expected a list of values for a grid; give "
                "one, or set sweep.method to random or optuna"
            )
        if self.n_trials > _MAX_TRIALS:
            raise ValueError(
                f"settings: found {self.n_trials} trials, expected at most {_MAX_TRIALS}; give "
                "fewer values, or set sweep.method to random"
            )
        return self

    @property
    def n_trials(self) -> int:
        """Number of trials; 0 if there is no sweep."""
        if not self.settings:
            return 0
        if self.method == "grid":
            return math.prod(len(v) for v in self.settings.values() if isinstance(v, list))
        return self.trials


def _wrong_key(key: Any) -> list[str]:
    """Return a line on why a key can't be swept, or none if it can."""
    first = str(key).partition(".")[0]
    if first in _NOT_SWEPT:
        return [f"{key}: can't be swept, {_NOT_SWEPT[first]}"]
    if first in Training.model_fields:
        return []
    close = difflib.get_close_matches(first, Training.model_fields, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return [f"{key}: unknown, expected a key of section training{hint}"]


def _wrong_range(key: str, wrong: Mapping[str, Any]) -> str:
    """Describe pydantic's error in a range in a line."""
    name = ".".join([key, *(str(part) for part in wrong["loc"][:1])])
    if wrong["type"] == "missing":
        return f"{name}: missing, expected a number"
    if wrong["type"] == "extra_forbidden":
        return f"{name}: unknown, expected low, high and, optionally, log"
    if wrong["type"] == "value_error":
        found = {
            part: wrong["input"][part] for part in ("low", "high", "log") if part in wrong["input"]
        }
        return f"{name}: found {found}, {wrong['ctx']['error']}"
    expected = "true or false" if wrong["loc"][0] == "log" else "a number"
    return f"{name}: found {wrong['input']!r}, expected {expected}"


class Evaluation(Section):
    """Evaluation of models."""

    prior: Annotated[float, Field(gt=0, lt=1)] = Field(
        1e-4,
        description="Fraction of lenses among the galaxies of the sky, for which purity is quoted.",
    )
    calibration: Literal["temperature", "isotonic"] = Field(
        "temperature",
        description="Calibration of scores as probabilities, fitted on the validation split.",
    )
    threshold: Fraction | None = Field(
        None,
        description="Probability at and above which a galaxy counts as found in a model's own "
        "metrics and figures. None: that of candidates.threshold if it is a probability, else 0.5.",
    )
    stamps: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Number of simulated stamps of non-lenses, with a quarter as many of lenses, "
        "on which the model of a run with a simulated sky is judged, too.",
    )
    bins: PositiveInt = Field(
        15,
        description="Number of bins of the reliability diagram and the expected calibration error.",
    )
