"""Kinds of files that the stages of the workflow make and read, for `lenspipe.config.stages`.

Snakemake imports this module whenever it parses the Snakefile, so it imports nothing heavy.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lenspipe.config.paths import network_source
from lenspipe.config.settings import Settings
from lenspipe.utils.files import is_remote

__all__ = [
    "FileSet",
    "Unit",
    "card",
    "given",
    "grades",
    "injects",
    "made",
    "network",
    "of_models",
    "of_search",
    "published",
    "trains",
]

#: What there is one set of files each for, or what a stage runs once for.
Unit = Literal["run", "chunk", "brick", "model", "trial"]


@dataclass(frozen=True)
class FileSet:
    """Files that a stage makes or the user gives.

    Attributes
    ----------
    paths
        Called with the settings and, unless there is one per run, the name of the chunk, brick,
        model or trial (or its wildcard in braces). Returns the files that Snakemake looks at; none
        where the run has no such files.
    beside
        Patterns, below the folder of the run, of further files that are complete where these are.
        ``{name}`` stands for the name, ``{brick}`` for each brick of the chunk.
    covers
        Sets that are complete where this one is: if they are renewed, so is this one. Fewer links
        make the graph of a whole survey faster to plan.
    chosen_by
        Settings that say which files these are: another value is another input.
    given
        Whether the user gives them. Their content decides whether a stage runs again, not their
        time.
    """

    paths: Callable[..., list[Path]]
    per: Unit = "run"
    beside: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()
    given: bool = False


def trains(settings: Settings) -> bool:
    """Whether the run trains a model."""
    return settings.trains


def injects(settings: Settings) -> bool:
    """Whether lenses are injected into galaxies of the search to measure its completeness."""
    return bool(settings.selection.number)


def given(keys: str, find: Callable[[Settings], Iterable[str | None]]) -> FileSet:
    """Files that the user names in some settings; a package or an address is no input."""

    def paths(settings: Settings) -> list[Path]:
        names = (name for name in find(settings) if name and name != "lenscat")
        return [Path(name) for name in names if not is_remote(name)]

    return FileSet(paths, chosen_by=tuple(keys.split()), given=True)


def made(
    path: Callable[..., Path],
    *,
    per: Unit = "run",
    when: Callable[[Settings], Any] = lambda settings: True,
    beside: str = "",
    covers: str = "",
) -> FileSet:
    """A file that a stage makes, in runs for which `when` is true."""

    def paths(settings: Settings, *name: str) -> list[Path]:
        return [path(settings.paths, *name)] if when(settings) else []

    return FileSet(paths, per, tuple(beside.split()), tuple(covers.split()))


def of_models(file: str, covers: str, ensemble: bool = True) -> FileSet:
    """A file of each network of the run and, if there is one, of the ensemble."""

    def paths(settings: Settings) -> list[Path]:
        names = {*settings.models, *([settings.training.name] if ensemble else [])}
        names = names if trains(settings) else set()
        return [settings.paths.model(name, file) for name in sorted(names)]

    return FileSet(paths, covers=(covers,), chosen_by=("ensemble.members",))


def of_search(file: str, covers: str) -> FileSet:
    """A file of the model that the run searches with; beside a given model it may be missing."""

    def paths(settings: Settings) -> list[Path]:
        path = settings.model_path.with_name(file)
        exists = trains(settings) or (settings.has_model and path.exists())
        return [path] if exists else []

    return FileSet(paths, covers=(covers,), chosen_by=("inference.model", "training.name"))


def network(settings: Settings, model: str) -> list[Path]:
    """Source of a user-defined network."""
    source = network_source(settings.of_model(model).training.network)
    return [source] if source else []


def card(settings: Settings) -> list[Path]:
    """Card of the given model; most models have none."""
    path = settings.model_path.with_name("card.json")
    return [path] if settings.inference.model and path.exists() else []


def published(settings: Settings) -> list[str]:
    """Published catalogues; those of a simulated sky come with it."""
    paths = [catalogue.path for catalogue in settings.recovery.catalogs]
    return [path for path in paths if settings.paths.sky not in Path(path).parents]


def grades(settings: Settings) -> list[Path]:
    """Exported from the inspection whenever people have graded; no stage makes it."""
    path = settings.paths.inspection("grades.csv")
    return [path] if path.exists() else []
