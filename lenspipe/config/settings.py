"""All settings of a run, and the only functions that read configuration files.

Imports are light: Snakemake imports this module whenever it parses the Snakefile.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from lenspipe.config.base import PathText, Section, merged
from lenspipe.config.data import (
    Chunks,
    Cutouts,
    Failures,
    Footprint,
    Parent,
    Retrieval,
    Simulation,
    Survey,
)
from lenspipe.config.explain import explain
from lenspipe.config.learning import Inference, Injection, Records, Round, Sample
from lenspipe.config.paths import RunPaths, model_file
from lenspipe.config.quality import Checks, Expected, Selection
from lenspipe.config.results import Candidates, Inspection, Mosaics, Recovery
from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.config.surveys.registry import get_release
from lenspipe.config.texts import as_meant, read_yaml
from lenspipe.config.training import Ensemble, Evaluation, Sweep, Training
from lenspipe.utils.addresses import Credentials, split_credentials
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import is_remote

__all__ = ["Settings", "hide_credentials", "load_settings", "nested", "read_config"]

#: Environment variable with credentials, JSON: address -> user, password, query.
_VARIABLE = "LENSPIPE_CREDENTIALS"

#: Keys of addresses below which there are others.
_FOLDERS = ("survey.tree", "survey.sweeps", "survey.tap", "survey.service")

#: Minimum score of a lens in a model's own metrics where no setting gives one.
DEFAULT_THRESHOLD = 0.5


class Settings(Section):
    """All settings of one run."""

    run: str = Field(
        ..., pattern=r"^[A-Za-z0-9][\w.-]{0,79}$", description="Name of the run, below results/."
    )
    keep: Literal["scores", "cutouts", "all"] = Field(
        "cutouts",
        description="Files that are kept. scores: a chunk's cutouts are deleted once it is scored, "
        "and made again if needed; cutouts: only its records are deleted; all: nothing is deleted.",
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of all random numbers.")
    survey: Survey = Field(default_factory=Survey)
    retrieval: Retrieval = Field(default_factory=Retrieval)
    targets: PathText | None = Field(
        None,
        description="Table of positions (ra, dec and, optionally, name) to search "
        "instead of the galaxies of a footprint.",
    )
    footprint: Footprint = Field(default_factory=Footprint)
    chunks: Chunks = Field(default_factory=Chunks)
    simulation: Simulation | None = Field(
        None, description="The simulated sky; only if survey.tree is not given."
    )
    parent: Parent = Field(default_factory=Parent)
    cutouts: Cutouts = Field(default_factory=Cutouts)
    failures: Failures = Field(default_factory=Failures)
    sample: Sample = Field(default_factory=Sample)
    injection: Injection = Field(default_factory=Injection)
    records: Records = Field(default_factory=Records)
    round: Round = Field(default_factory=Round)
    training: Training = Field(default_factory=Training)
    ensemble: Ensemble = Field(default_factory=Ensemble)
    sweep: Sweep = Field(default_factory=Sweep)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    inference: Inference = Field(default_factory=Inference)
    candidates: Candidates = Field(default_factory=Candidates)
    mosaics: Mosaics = Field(default_factory=Mosaics)
    inspection: Inspection = Field(default_factory=Inspection)
    recovery: Recovery = Field(default_factory=Recovery)
    selection: Selection = Field(default_factory=Selection)
    expected: Expected = Field(default_factory=Expected)
    checks: Checks = Field(default_factory=Checks)
    _folder: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = []
        if (self.survey.tree is None) == (self.simulation is None):
            found = "both" if self.simulation else "neither"
            problems.append(
                f"survey.tree, simulation: found {found}, expected one; real data need "
                "survey.tree, the survey's folder or address, and a simulated sky needs section "
                "simulation"
            )
        try:
            release = self.release
        except LenspipeError as error:
            raise ValueError(str(error).removeprefix("config key ")) from None
        if not self.survey.bands or not release.regions_with(self.survey.bands):
            problems.append(
                f"survey.bands: found {list(self.survey.bands)}, expected some of "
                f"{list(release.bands)} ({release.name})"
            )
        panels = {*self.mosaics.panels} - {"rgb", "residual", *self.survey.bands}
        if panels:
            problems.append(
                f"mosaics.panels: found {', '.join(sorted(panels))}, expected rgb, residual and "
                f"bands of survey.bands ({', '.join(self.survey.bands)})"
            )
        if not self.parent.types or not set(self.parent.types) <= set(release.types):
            problems.append(
                f"parent.types: found {list(self.parent.types)}, expected some of "
                f"{list(release.types)} ({release.name})"
            )
        known = release.catalog_bits or tuple(release.mask_bits)
        if bits := [name for name in self.parent.maskbits if name not in known]:
            problems.append(
                f"parent.maskbits: found {', '.join(bits)}, expected some of "
                f"{', '.join(known)} ({release.name})"
            )
        if self.simulation and (self.survey.name, self.survey.release) != ("legacy", "dr9"):
            problems.append("survey.release: the simulated sky is written as dr9 of legacy")
        given = self.targets or self.footprint.bricks or self.footprint.brick_list
        if self.simulation and not given and self._area_deg2() > 100:
            problems.append(
                f"footprint: {self._area_deg2():.0f} square degrees is too large for a simulated "
                "sky; give ra and dec ranges of at most 100"
            )
        if self.survey.tree and self.trains and not self.sample.known_lenses:
            problems.append(
                "sample.known_lenses: a search of real data needs a CSV with ra, dec (or a trained "
                "model in inference.model, such as `shipped`)"
            )
        if self.footprint.known_lenses and not self.sample.known_lenses:
            problems.append("footprint.known_lenses: needs catalogues in sample.known_lenses")
        lacking = {"r", "z"} - {*self.survey.bands}
        if self.selection.number and lacking:
            problems.append(
                f"selection.number: redshifts of the galaxies that lenses are injected into come "
                f"from r-z; add "
                f"{' and '.join(sorted(lacking))} to survey.bands, or set it to 0"
            )
        if self.targets and self.selection.number:
            problems.append(
                "selection.number: lenses are injected into galaxies of a footprint; set it to 0 "
                "for a list of targets"
            )
        if self.targets and self.footprint != Footprint():
            problems.append("targets: give either a list of positions or a footprint, not both")
        if self.sample.cleaning_model == str(self.paths.model(self.training.name)):
            problems.append(
                "sample.cleaning_model: found the model that this sample is for; copy the model of "
                "an earlier round elsewhere and name the copy"
            )
        problems += self._problems_of_models()
        if self.asks_servers and not self.retrieval.contact:
            problems.append(
                "retrieval.contact: missing; servers should know whom to contact: give a mail or "
                "web address"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems_of_models(self) -> list[str]:
        problems = []
        members = self.ensemble.members
        if self.training.name in members:
            problems.append(
                f"ensemble.members.{self.training.name}: found the name of the ensemble itself, "
                "training.name; give it another"
            )
        for name, changes in members.items():
            problems += [f"ensemble.members.{name}.{line}" for line in self._wrong(changes)]
        if problems:
            return problems
        names_by_training: dict[str, str] = {}
        for name in members:
            training = self.of_model(name).training.model_copy(update={"name": ""})
            other = names_by_training.setdefault(training.model_dump_json(), name)
            if other != name:
                problems.append(
                    f"ensemble.members.{name}: found the same settings as {other}, expected "
                    "others; give it at least another seed"
                )
        for key, values in self.sweep.settings.items():
            values = values if isinstance(values, list) else [values.low, values.high]
            for value in values:
                changes = nested(self.training.model_dump(mode="json"), key, value)
                problems += [f"sweep.settings.{line}" for line in self._wrong(changes)]
        if members and self.sweep.settings:
            problems.append("sweep: found with ensemble, expected one network; sweep it separately")
        _, validation, _ = self.sample.fractions
        needs = {
            "sweep.settings": self.sweep.settings,
            "ensemble.combine: stacker": self.ensemble.combine == "stacker",
            "training.refit": self._any_refit,
        }
        problems += [
            f"{key}: needs a validation split, sample.fractions has none"
            for key, given in needs.items()
            if given and not validation
        ]
        return problems

    @property
    def _any_refit(self) -> bool:
        return any(self.of_model(name).training.refit for name in self.models)

    def _wrong(self, changes: Mapping[str, Any]) -> list[str]:
        """Describe errors in changes of section training, a line each."""
        try:
            self.training.changed(changes)
        except ValidationError as error:
            return [
                f"{'.'.join(map(str, problem['loc']))}: found {problem['input']!r}, "
                + problem["msg"][0].lower()
                + problem["msg"][1:]
                for problem in error.errors()
            ]
        return []

    def of_model(self, name: str, **changes: Any) -> Self:
        """Return the settings with which one of the run's models is trained.

        Parameters
        ----------
        name
            Of the run's only network, of a member of its ensemble, or of a trial of its sweep.
        **changes
            Keys of section training that differ, for a trial.

        Returns
        -------
        Settings
            With changes in section training, whose name is the given one, and no ensemble.
        """
        changes = merged(self.ensemble.members.get(name, {}), changes) | {"name": name}
        training = self.training.changed(changes)
        return self.model_copy(update={"training": training, "ensemble": Ensemble()})

    @property
    def models(self) -> list[str]:
        """Names of the networks to train: the members of the ensemble, or one."""
        return sorted(self.ensemble.members) or [self.training.name]

    @property
    def asks_servers(self) -> bool:
        """Whether anything is downloaded over HTTP."""
        survey = self.survey
        addresses = [survey.tree, survey.sweeps]
        addresses += [survey.tap] if survey.catalogs == "tap" and not self.targets else []
        catalogues = (*self.sample.known_lenses, *self.recovery.catalogs)
        addresses += [catalogue.path for catalogue in catalogues]
        addresses += [*self.sample.confusing, *self.sample.graded]
        addresses += [survey.service] if self.cutouts.source == "service" else []
        return any(re.match("https?://", address or "") for address in addresses)

    @property
    def catalogues_from(self) -> list[str | None]:
        """Kind and place of the catalogues of galaxies; none for a list of targets."""
        if self.targets:
            return []
        survey = self.survey
        places = {"tractor": survey.tree, "sweeps": survey.sweeps or survey.tree, "tap": survey.tap}
        return [survey.catalogs, places[survey.catalogs]]

    @property
    def pixels_from(self) -> str | None:
        """Place that cutouts are cut at: the survey's tree, or the cutout service."""
        return self.survey.service if self.cutouts.source == "service" else self.survey.tree

    @property
    def assessment_threshold(self) -> tuple[float, str]:
        """Minimum score of a lens in a model's own metrics, and the setting that it comes from.

        A cut by number, fraction or rate is known only after the search: the metrics then use 0.5,
        unless ``evaluation.threshold`` is given.
        """
        if self.evaluation.threshold is not None:
            return self.evaluation.threshold, "evaluation.threshold"
        if self.candidates.threshold.by == "probability":
            return self.candidates.threshold.value, "candidates.threshold"
        return DEFAULT_THRESHOLD, "default"

    @property
    def brick_pages(self) -> list | None:
        """Appearance of the mosaics of all bricks; None where bricks have none."""
        own = self.mosaics
        pages = [own.stretch, own.panels, own.columns, own.brick_tiles]
        return pages if own.per_brick else None

    @property
    def held_out(self) -> Literal["test", "validation"] | None:
        """The split on which a search is evaluated: test, or else validation.

        None if all splits are trained on, including the validation split (``training.refit``, a
        stacker), and for a given model, which was trained elsewhere.
        """
        _, validation, test = self.sample.fractions
        if not self.trains:
            return None
        if "validation" in self.training_splits:
            validation = 0
        return "test" if test else "validation" if validation else None

    @property
    def training_splits(self) -> tuple[str, ...]:
        """Splits that the run's model is trained on; refit and stacker include validation."""
        stacked = self.ensemble.members and self.ensemble.combine == "stacker"
        return ("train", "validation") if stacked or self._any_refit else ("train",)

    @property
    def trains(self) -> bool:
        """Whether the run trains a model: not with a given one, nor for a list of targets."""
        return not (self.inference.model or self.targets)

    @property
    def has_model(self) -> bool:
        """Whether galaxies are scored; a list of targets need not be."""
        return bool(self.inference.model or not self.targets)

    @property
    def model_path(self) -> Path:
        """File of the model that the run searches with: the given one, or that of the run."""
        if self.inference.model:
            return model_file(self.inference.model)
        return self.paths.model(self.training.name)

    @property
    def predictions(self) -> Path:
        """File with the model's scores of galaxies that it was not trained on.

        It is beside the model; beside a given model it may be missing.
        """
        return self.model_path.with_name("predictions.parquet")

    def _area_deg2(self) -> float:
        (ra0, ra1), (dec0, dec1) = self.footprint.ra, self.footprint.dec
        return ((ra1 - ra0) % 360 or 360) * (dec1 - dec0)

    @property
    def release(self) -> Release:
        """The data release that is searched, with its properties."""
        return get_release(self.survey.name, self.survey.release)

    @property
    def paths(self) -> RunPaths:
        """Files of the run, below ``results/<run>`` unless `at` says where they are."""
        return RunPaths.at(self._folder) if self._folder else RunPaths(self.run)

    def at(self, folder: str | os.PathLike[str]) -> Self:
        """Return the settings of a run whose files are in a folder."""
        settings = self.model_copy()
        settings._folder = Path(folder)
        return settings

    @property
    def survey_paths(self) -> SurveyPaths:
        """Files of the survey."""
        return self.release.paths(self.survey.tree or self.paths.sky)


def nested(section: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Copy a section with one key changed; nested keys have dots, ``augmentation.noise``."""
    first, _, rest = key.partition(".")
    if rest:
        below = section.get(first)
        value = nested(below if isinstance(below, dict) else {}, rest, value)
    return {**section, first: value}


def read_config(paths: Iterable[Path]) -> dict[str, Any]:
    """Read configuration files as Snakemake does: later ones override keys of earlier ones.

    Raises
    ------
    LenspipeError
        A file is missing, is not a map in YAML, or has a key twice.
    """
    config: dict[str, Any] = {}
    for path in paths:
        config = merged(config, read_yaml(path))
    return config


def load_settings(config: Mapping[str, Any]) -> Settings:
    """Check a configuration, as read from YAML.

    Raises
    ------
    LenspipeError
        One line for each wrong key, all at once.

    Examples
    --------
    >>> area = {"ra": [150, 151], "dec": [2, 3]}
    >>> settings = load_settings({"run": "test", "simulation": {}, "footprint": area})
    >>> settings.release.survey, settings.cutouts.size
    ('DESI Legacy Imaging Surveys', 101)
    """
    credentials = _environment_credentials()
    config = _hidden(config, credentials)
    try:
        settings = Settings.model_validate(as_meant(config, Settings))
    except ValidationError as error:
        lines = [explain(problem, Settings) for problem in error.errors()]
        raise LenspipeError("\n".join(lines)) from None
    settings.retrieval._credentials.update(credentials)
    return settings


def hide_credentials(config: dict[str, Any]) -> None:
    """Move the credentials of all addresses in a configuration to an environment variable.

    Snakemake writes its configuration to files; its jobs inherit the variable, where
    `load_settings` finds them.
    """
    credentials = _environment_credentials()
    config.update(_hidden(config, credentials))
    if credentials:
        os.environ[_VARIABLE] = json.dumps(credentials)


def _environment_credentials() -> dict[str, Credentials]:
    given = json.loads(os.environ.get(_VARIABLE, "{}"))
    return {address: Credentials(*values) for address, values in given.items()}


def _hidden(value: Any, credentials: dict[str, Credentials], key: str = "") -> Any:
    """Copy a part of a configuration without credentials, which are added to those given."""
    if isinstance(value, Mapping):
        return {
            name: _hidden(each, credentials, f"{key}.{name}".strip("."))
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hidden(each, credentials, key) for each in value]
    if not isinstance(value, str) or not is_remote(value):
        return value
    try:
        shown, found = split_credentials(value, whole_query=key in _FOLDERS)
    except ValueError as error:
        raise LenspipeError(f"config key {key}: {error}") from None
    if any(found):
        credentials[shown.partition("{")[0].rstrip("/")] = found
    return shown
