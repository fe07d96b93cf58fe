"""Files that the stages of the workflow make and read, by name: `lenspipe.config.stages` uses them.

Snakemake imports this module whenever it parses the Snakefile, so it imports nothing heavy.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lenspipe.config.paths import RunPaths, network_source
from lenspipe.config.settings import Settings
from lenspipe.utils.files import is_remote

__all__ = ["STAGE_FILES", "FileSet", "Unit"]

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
    """

    paths: Callable[..., list[Path]]
    per: Unit = "run"
    beside: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()


def _trained(settings: Settings) -> bool:
    return not settings.inference.model


def _given(keys: str, find: Callable[[Settings], Iterable[str | None]]) -> FileSet:
    """Files that the user names in some settings; a package or an address is no input."""

    def paths(settings: Settings) -> list[Path]:
        names = (name for name in find(settings) if name and name != "lenscat")
        return [Path(name) for name in names if not is_remote(name)]

    return FileSet(paths, chosen_by=tuple(keys.split()))


def _made(
    path: Callable[..., Path],
    *,
    per: Unit = "run",
    when: Callable[[Settings], Any] = lambda settings: True,
    **patterns: str,
) -> FileSet:
    """A file that a stage makes, in runs for which `when` is true."""

    def paths(settings: Settings, *name: str) -> list[Path]:
        return [path(settings.paths, *name)] if when(settings) else []

    return FileSet(paths, per, **{field: tuple(text.split()) for field, text in patterns.items()})


def _of_models(file: str, covers: str, ensemble: bool = True) -> FileSet:
    """A file of each network of the run and, if there is one, of the ensemble."""

    def paths(settings: Settings) -> list[Path]:
        names = {*settings.models, *([settings.training.name] if ensemble else [])}
        names = names if _trained(settings) else set()
        return [settings.paths.model(name, file) for name in sorted(names)]

    return FileSet(paths, covers=(covers,), chosen_by=("ensemble.members",))


def _of_search(file: str, covers: str) -> FileSet:
    """A file of the model that the run searches with; beside a given model it may be missing."""

    def paths(settings: Settings) -> list[Path]:
        path = settings.model_path.with_name(file)
        return [path] if _trained(settings) or path.exists() else []

    return FileSet(paths, covers=(covers,), chosen_by=("inference.model", "training.name"))


def _network(settings: Settings, model: str) -> list[Path]:
    """Source of a user-defined network."""
    source = network_source(settings.of_model(model).training.network)
    return [source] if source else []


def _published(settings: Settings) -> list[str]:
    """Published catalogues; those of a simulated sky come with it."""
    paths = [catalogue.path for catalogue in settings.recovery.catalogs]
    return [path for path in paths if settings.paths.sky not in Path(path).parents]


def _grades(settings: Settings) -> list[Path]:
    """Exported from the inspection whenever people have graded; no stage makes it."""
    path = settings.paths.inspection("grades.csv")
    return [path] if path.exists() else []


STAGE_FILES: dict[str, FileSet] = {
    # Given by the user.
    "targets": _given("targets", lambda s: [s.targets]),
    "known_lists": _given(
        "sample.known_lenses sample.graded",
        lambda s: [*(catalogue.path for catalogue in s.sample.known_lenses), *s.sample.graded],
    ),
    "graded_lists": _given("sample.graded", lambda s: s.sample.graded),
    "confusing_lists": _given("sample.confusing", lambda s: s.sample.confusing),
    "cleaning_model": _given("sample.cleaning_model", lambda s: [s.sample.cleaning_model]),
    "footprint_lists": _given("footprint", lambda s: s.footprint.files),
    "redshifts": _given("candidates.redshifts", lambda s: s.candidates.redshifts),
    "published": _given("recovery.catalogs", _published),
    "population": _given("expected.population", lambda s: [s.expected.population]),
    "training_sample": _given("recovery.sample", lambda s: [s.recovery.sample]),
    "network": FileSet(_network, "model", chosen_by=("training.network",)),
    "grades": FileSet(_grades),
    # The sky, its bricks and galaxies. The Snakefile makes the plan.
    "plan": _made(lambda p: p.plan),
    "sky": _made(lambda p: p.sky_manifest, beside="sky/**/*", when=lambda s: s.simulation),
    "bricks": _made(lambda p: p.bricks),
    # Sweeps and queries look up positions of bricks.
    "brick_positions": _made(
        lambda p: p.bricks,
        when=lambda s: s.survey.catalogs != "tractor" and not s.targets,
        covers="bricks",
    ),
    "parent": _made(RunPaths.parent, per="chunk", beside="manifests/parent/{name}.json"),
    "parent_audit": _made(
        RunPaths.parent_audit, per="chunk", beside="manifests/parent/{name}.json"
    ),
    "audit": _made(lambda p: p.audit),
    "cutouts": _made(
        lambda p, c: p.manifest("cutouts", c), per="chunk", beside="cutouts/*/{brick}.fits"
    ),
    "brick_cutouts": _made(RunPaths.cutouts, per="brick"),
    # The labelled sample and the models.
    "lenses": _made(lambda p: p.lenses, beside="known/lenses.csv"),
    "sample": _made(
        lambda p: p.sample,
        when=_trained,
        beside="sample/*.tfrecord sample/records.json sample/splits.csv sample/known-lenses.csv "
        "sample/injected.parquet sample/versions/*.parquet",
    ),
    "splits": _made(lambda p: p.splits, when=_trained),
    "sample_report": _made(lambda p: p.sample_report("report.json"), when=_trained),
    "mined": _made(lambda p: p.mined_index, beside="mined/*"),
    "model": _made(
        RunPaths.model,
        per="model",
        beside="models/{name}/validated.keras models/{name}/config.yaml",
    ),
    "training_notes": _made(lambda p, model: p.model(model, "training.json"), per="model"),
    "model_predictions": _made(lambda p, m: p.model(m, "predictions.parquet"), per="model"),
    "model_calibration": _made(lambda p, model: p.model(model, "calibration.json"), per="model"),
    "model_metrics": _made(lambda p, model: p.model(model, "metrics.json"), per="model"),
    "model_mistakes": _made(lambda p, model: p.model(model, "missed.png"), per="model"),
    "activations": _made(lambda p, model: p.model(model, "activations.png"), per="model"),
    "member_models": _of_models("model.keras", "model", ensemble=False),
    "member_notes": _of_models("training.json", "training_notes", ensemble=False),
    "member_predictions": _of_models("predictions.parquet", "model_predictions", ensemble=False),
    "all_activations": _of_models("activations.png", "activations", ensemble=False),
    "all_notes": _of_models("training.json", "training_notes"),
    "all_metrics": _of_models("metrics.json", "model_metrics"),
    "all_mistakes": _of_models("missed.png", "model_mistakes"),
    "search_model": FileSet(
        lambda s: [s.model_path], covers=("model",), chosen_by=("inference.model", "training.name")
    ),
    "trained_model": FileSet(
        lambda s: [s.model_path] if _trained(s) else [], chosen_by=("training.name",)
    ),
    "calibration": _of_search("calibration.json", "model_calibration"),
    "predictions": _of_search("predictions.parquet", "model_predictions"),
    "trial": FileSet(
        lambda s, trial: [s.paths.model(f"{s.training.name}_trial_{trial}", "trial.json")],
        "trial",
        beside=("models/*_trial_{name}/*",),
    ),
    "sweep": _made(lambda p: p.sweep("best.yaml")),
    # The search.
    "records": _made(RunPaths.records, per="chunk", covers="cutouts"),
    "scores": _made(RunPaths.scores, per="chunk", covers="parent cutouts"),
    "brick_scores": _made(RunPaths.brick_scores, per="brick"),
    "brick_mosaics": _made(
        lambda p, chunk: p.manifest("mosaics", chunk),
        per="chunk",
        when=lambda s: s.mosaics.per_brick,
        beside="mosaics/bricks/{brick}.png",
    ),
    "brick_mosaic": _made(RunPaths.brick_mosaic, per="brick"),
    "discarded": _made(
        lambda p, c: p.manifest("discard", c), per="chunk", when=lambda s: s.keep == "scores"
    ),
    # Hashes of the files of all chunks: one input in place of several of each chunk.
    "chunks": _made(lambda p: p.chunks, covers="scores discarded"),
    "candidates": _made(lambda p: p.candidates),
    "cuts": _made(lambda p: p.cuts),
    # A cut in probability is known before the search, any other only after it.
    "search_cuts": _made(
        lambda p: p.cuts,
        when=lambda s: s.candidates.threshold.by != "probability",
        covers="cuts",
    ),
    "threshold": _made(lambda p: p.threshold),
    "candidate_list": _made(lambda p: p.candidate_file("candidates.html")),
    "sky_map": _made(lambda p: p.candidate_file("sky.png")),
    "mosaics": _made(lambda p: p.mosaic_index, beside="mosaics/page-*.png"),
    # How good it is.
    "checks": _made(lambda p: p.checks("checks.json")),
    "evaluation": _made(lambda p: p.evaluation("metrics.json"), when=lambda s: s.held_out),
    "recovery": FileSet(
        lambda s: [s.paths.recovery(f"{list_.label}.json") for list_ in s.recovery.catalogs]
    ),
    "purity": _made(lambda p: p.purity("purity.json")),
    "injected": _made(lambda p: p.selection("injected.parquet")),
    "injected_page": _made(lambda p: p.selection("injected.png")),
    "realism": _made(lambda p: p.selection("realism.json")),
    "selection": _made(lambda p: p.selection("selection.fits"), beside="selection/selection.json"),
    "expected": _made(lambda p: p.expected("expected.json")),
    "summary": _made(lambda p: p.summary),
}
