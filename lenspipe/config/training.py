"""Sections on networks: how they are trained, combined, compared and judged."""

import difflib
import math
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from lenspipe.config.base import Fraction, Positive, PositiveInt, Section, merged

__all__ = ["RECIPES", "Augmentation", "Ensemble", "Evaluation", "Range", "Sweep", "Training"]

#: Folder of the published recipes, one YAML file each.
RECIPES = Path(__file__).parent / "recipes"

#: Networks of lenspipe's own.
NETWORKS = ("cmu_deeplens", "shielded_resnet", "efficientnet_v2")

_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"

#: Keys that a sweep can't change, and why.
_NOT_SWEPT = {
    "name": "a trial's name is its number",
    "recipe": "sweep the keys that recipes differ in",
    "refit": "trials are compared on a validation split that they never trained on",
}

#: Most trials of a sweep: all are listed whenever the Snakefile is read.
_MAX_TRIALS = 10_000

_NotNegative = Annotated[float, Field(ge=0)]

_SettingOfNetwork = int | float | bool | str | None | list[int]


class Augmentation(Section):
    """Random changes of cutouts while training; made on the GPU where there is one."""

    symmetries: bool = Field(
        True, description="Quarter turns and mirror images, each of the square's eight alike."
    )
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="Further turn by any angle up to this, either way, degrees."
    )
    zoom: tuple[Positive, Positive] = Field(
        (1.0, 1.0), description="Least and largest part of the cutout's side that fills the image."
    )
    shift_pixels: _NotNegative = Field(
        0.0, description="Shift along each axis by up to this, either way, pixels."
    )
    noise: _NotNegative = Field(
        0.0, description="Further noise, standard deviation in units of the band's own."
    )

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, value):
        if value[0] > value[1]:
            raise ValueError("the first part must not be above the second")
        return value


class Training(Section):
    """The network and how it is trained."""

    recipe: str | None = Field(
        None,
        description="Published recipe (`poster`, `paper1`, `paper2`, `paper3`, `paper4_resnet`, "
        "`paper4_efficientnet`), or a YAML file of your own, with values for the keys of this "
        "section that the configuration does not give.",
    )
    name: str = Field("resnet", pattern=_NAME, description="Name of the trained model.")
    network: str = Field(
        "cmu_deeplens",
        description="Architecture: `cmu_deeplens`, `shielded_resnet`, `efficientnet_v2`; or a "
        "Python file of your own and a function in it, `my_networks.py:tiny`.",
    )
    network_settings: dict[str, _SettingOfNetwork] = Field(
        default_factory=dict, description="Arguments of the architecture; see docs/networks.md."
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**31,
        description="Seed of the first weights, the order of the sample and its augmentation. "
        "None: that of the run.",
    )
    epochs: PositiveInt = Field(120, description="Passes over the training split.")
    batch_size: PositiveInt = Field(
        128, description="Cutouts per step, over all GPUs and machines together."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Optimiser.")
    optimizer_settings: dict[str, float | bool] = Field(
        default_factory=dict,
        description="Arguments of Keras' optimiser, such as weight_decay, momentum, clipnorm.",
    )
    learning_rate: Positive = Field(1e-3, description="Rate at the start, after the warm-up.")
    warmup_epochs: int = Field(
        0, ge=0, description="Epochs over which the rate rises to learning_rate."
    )
    schedule: Literal["steps", "cosine"] = Field(
        "steps",
        description="How the rate falls: by decay_factor at each of decay_epochs, or as a cosine "
        "to 0 at the last epoch.",
    )
    decay_epochs: tuple[PositiveInt, ...] = Field(
        (40, 80), description="Epochs at which the rate is multiplied by decay_factor."
    )
    decay_factor: Positive = Field(0.1, description="See decay_epochs.")
    loss: Literal["binary_crossentropy", "focal"] = Field(
        "binary_crossentropy", description="Loss; `focal` that of arXiv 1708.02002 with gamma 2."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Part of each label that is replaced by one half."
    )
    lens_weight: Positive | None = Field(
        None,
        description="Weight of a lens in the loss; None balances the classes up to a factor of 10.",
    )
    augmentation: Augmentation = Field(default_factory=Augmentation, description="See below.")
    monitor: Literal["auc", "loss"] = Field(
        "auc", description="What tells the better of two epochs on the validation split."
    )
    keep: Literal["settled", "best", "last"] = Field(
        "settled",
        description="Epoch that is kept: the best one at the last learning rate, the best of all, "
        "or the last. (A cosine's rate settles in the last tenth.)",
    )
    patience: PositiveInt | None = Field(
        None,
        description="Epochs without a better one, of those that `keep` counts, after which "
        "training stops. None: never.",
    )
    refit: bool = Field(
        False,
        description="Whether to train once more, from the beginning, on training and validation "
        "split together; the model that is left is that one, and its validation figures are of "
        "the first.",
    )
    strategy: Literal["auto", "one", "mirrored", "workers"] = Field(
        "auto",
        description="Where to train: on one device, on all GPUs of a machine, or on several "
        "machines. `auto`: on what there is; docs/training.md.",
    )
    mixed_precision: bool = Field(
        True, description="Half precision where there is a GPU; never on a CPU."
    )

    @field_validator("network")
    @classmethod
    def _known_network(cls, value):
        if value not in NETWORKS and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", value):
            raise ValueError(
                f"expected one of {', '.join(NETWORKS)}, or a Python file and a function in it"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self):
        if self.patience and self.keep == "last":
            raise ValueError("patience: found with keep: last, which waits for no better epoch")
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_recipe(cls, value):
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
        return _on_top(recipe, value)

    def changed(self, changes):
        """Return this section with other values for some keys.

        Parameters
        ----------
        changes : dict
            Key -> value; maps are merged key by key. Where it names a recipe, only where and in
            which precision to train is taken from this section.

        Returns
        -------
        Training

        Raises
        ------
        pydantic.ValidationError
            A key or value is wrong.
        """
        own = self.model_dump(mode="json")
        if "recipe" in changes:
            own = {key: own[key] for key in ("strategy", "mixed_precision")}
        return type(self).model_validate(_on_top(own, changes))


def _on_top(own, changes):
    """Merge changes into a section; another network, or optimiser, has other settings."""
    for kind in ("network", "optimizer"):
        default = Training.model_fields[kind].default
        if changes.get(kind, own.get(kind)) != own.get(kind, default):
            own = {key: value for key, value in own.items() if key != f"{kind}_settings"}
    return merged(own, changes)


def read_recipe(name):
    """Read a recipe.

    Parameters
    ----------
    name : str
        Of a published one, or path of a YAML file.

    Returns
    -------
    dict
        Values of keys of `Training`.

    Raises
    ------
    ValueError
        There is no such recipe, or it can't be read.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise ValueError(
            f"recipe: found {name!r}, expected one of {known}, or a YAML file of yours"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"recipe: {path} can't be read as YAML ({reason})") from None
    if not isinstance(content, dict) or "recipe" in content:
        raise ValueError(f"recipe: {path} must hold keys of section training, without recipe")
    return content


class Ensemble(Section):
    """Several networks as one model, which takes the name of `training.name`."""

    members: dict[Annotated[str, Field(pattern=_NAME)], dict] = Field(
        default_factory=dict,
        description="Name of each network -> keys of section training that differ for it. None: "
        "one network, without ensemble.",
    )
    combine: Literal["mean", "median", "stacker"] = Field(
        "mean",
        description="How their probabilities become one; `stacker` is a small network fitted to "
        "them on the validation split (arXiv 2508.20087).",
    )
    hidden: PositiveInt = Field(300, description="Units in the stacker's hidden layer.")

    @field_validator("members")
    @classmethod
    def _several(cls, value):
        if len(value) == 1:
            raise ValueError("expected two members or more")
        return value


class Range(Section):
    """Values of a setting between two numbers; whole ones if both are whole."""

    low: int | float = Field(description="Least value.")
    high: int | float = Field(description="Largest value.")
    log: bool = Field(False, description="Whether to draw evenly in the logarithm.")

    @model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("expected low below high, and above 0 where log is true")
        return self

    @property
    def is_whole(self):
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Sweep(Section):
    """A search over settings of the training; `snakemake sweep` runs it."""

    method: Literal["grid", "random", "optuna"] = Field(
        "grid",
        description="All combinations; as many random ones as `trials`; or as many that Optuna "
        "proposes, which also breaks off those that fall behind (`pip install 'lenspipe[sweep]'`).",
    )
    trials: PositiveInt = Field(20, description="Trials of `random` and `optuna`.")
    settings: dict[str, list | Range] = Field(
        default_factory=dict,
        description="Key of section training, with dots below it (`augmentation.noise`) -> list of "
        "values, or map with low, high and, if wanted, log. `grid` takes lists only.",
    )
    fpr: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01,
        description="False-positive rate at which completeness on the validation split decides "
        "which trial is best.",
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _lists_or_ranges(cls, value):
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
                    "and, if wanted, log"
                )
        if problems:
            raise ValueError("; ".join(dict.fromkeys(problems)))
        return checked

    @model_validator(mode="after")
    def _fits(self):
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
    def n_trials(self):
        """Number of trials; 0 where nothing is swept."""
        if not self.settings:
            return 0
        if self.method == "grid":
            return math.prod(len(values) for values in self.settings.values())
        return self.trials


def _wrong_key(key):
    """Say in a line why a key can't be swept, if it can't."""
    first = str(key).partition(".")[0]
    if first in _NOT_SWEPT:
        return [f"{key}: can't be swept, {_NOT_SWEPT[first]}"]
    if first in Training.model_fields:
        return []
    close = difflib.get_close_matches(first, Training.model_fields, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return [f"{key}: unknown, expected a key of section training{hint}"]


def _wrong_range(key, wrong):
    """Say in a line what is wrong with a range."""
    name = ".".join([key, *(str(part) for part in wrong["loc"][:1])])
    if wrong["type"] == "missing":
        return f"{name}: missing, expected a number"
    if wrong["type"] == "extra_forbidden":
        return f"{name}: unknown, expected low, high and, if wanted, log"
    if wrong["type"] == "value_error":
        found = {
            part: wrong["input"][part] for part in ("low", "high", "log") if part in wrong["input"]
        }
        return f"{name}: found {found}, {wrong['ctx']['error']}"
    expected = "true or false" if wrong["loc"][0] == "log" else "a number"
    return f"{name}: found {wrong['input']!r}, expected {expected}"


class Evaluation(Section):
    """How models are judged."""

    prior: Annotated[float, Field(gt=0, lt=1)] = Field(
        1e-4, description="Part of the sky's galaxies that are lenses; purity is quoted for it."
    )
    calibration: Literal["temperature", "isotonic"] = Field(
        "temperature",
        description="How scores become calibrated probabilities; fitted on the validation split.",
    )
    threshold: Fraction | None = Field(
        None,
        description="Probability at and above which a galaxy counts as found in a model's own "
        "metrics and figures. None: that of candidates.threshold if it is a probability, else 0.5.",
    )
    bins: PositiveInt = Field(
        15, description="Bins of the reliability diagram and the expected calibration error."
    )
