"""Function, inputs, outputs, settings and version of every stage of the workflow, in one table.

The rules take their inputs and parameters from it, the files ``basis/<stage>.json`` their content,
and everything that is kept and used again its key. Each setting that a stage reads is named here:
tests run every stage with nothing but its inputs and compare the settings that it read.

Snakemake imports this module whenever it parses the Snakefile, so it imports nothing heavy.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lenspipe.config.file_sets import (
    FileSet,
    Unit,
    card,
    given,
    grades,
    injects,
    made,
    network,
    of_models,
    of_search,
    published,
    trains,
)
from lenspipe.config.paths import RunPaths, model_file
from lenspipe.config.settings import Settings
from lenspipe.utils.hashing import digest

__all__ = [
    "PROPERTIES",
    "RECORD_VERSION",
    "STAGES",
    "STAGE_FILES",
    "Stage",
    "content_key",
    "makes_files",
    "run_again",
    "stage_parameters",
]

#: Version of records, those for scoring and those of the labelled sample.
RECORD_VERSION = 2


@dataclass(frozen=True)
class Stage:
    """A rule of the workflow.

    Attributes
    ----------
    function
        What the rule calls, ``module:function`` below the package; empty where there is no rule. It
        takes the settings (a stage per model: those of the model) and, where it runs once for each
        chunk, brick or trial, which one.
    inputs, outputs
        Names of `STAGE_FILES`; where an input is renewed, the stage runs again. A stage of the run
        reads the files of every chunk.
    settings
        Keys of the configuration (a section, a single key or a property of the settings) that
        change the outputs whatever the inputs hold. Keys that only change what an input holds are
        not listed, nor are those that change speed, memory or the log.
    version
        To be raised whenever the same inputs and settings give other outputs.
    sources
        Settings that say which of the survey's files are read. These files are too many to be
        inputs, or on a server, so the settings are parameters of the rule; content keys cover the
        files instead.
    key
        Settings that `content_key` covers, where they differ from `settings`.
    without
        Keys below those of `settings` that do not count.
    waits_for
        Names of `STAGE_FILES` that are read, but whose renewal must not run the stage again.
        `settings` names what they are made from, as far as it counts.
    updates
        Names of `STAGE_FILES` of other stages that this one updates if they exist; no stage runs
        again for that.
    noted
        Whether the parameters are also written to ``basis/<stage>.json``, an input of the stage.
        Snakemake (9.27) does not compare parameters of jobs downstream of one that has to run, even
        if only by an `ancient` link; it does compare those of the rule that writes this file.
    """

    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    version: int = 1
    per: Unit = "run"
    noted: bool = False
    sources: tuple[str, ...] = ()
    key: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()


def stage_parameters(name: str, settings: Settings, **more: Any) -> dict[str, Any]:
    """Everything that a stage depends on besides its inputs, as plain values.

    Parameters
    ----------
    settings
        For a stage per model or trial those of the model, `Settings.of_model`.
    **more
        Further dependencies that no setting describes, such as versions of packages.
    """
    stage = STAGES[name]
    keys = (*stage.settings, *stage.sources)
    return {"version": stage.version} | _values(settings, keys, stage.without) | more


def content_key(name: str, settings: Settings, *content: Any) -> str:
    """Key under which a stage's output, or a part of it, is kept and used again.

    Parameters
    ----------
    *content
        Plain values that stand for what it is made from, such as hashes of files and tables.
    """
    stage = STAGES[name]
    keys = stage.settings if stage.key is None else stage.key
    return digest(name, stage.version, _values(settings, keys, stage.without), content)


def run_again(key: str, settings: Settings) -> list[str]:
    """Names of the stages that run again where a key of the configuration changes, in order.

    These are the stages that it is a setting of, or whose given files it names, and all that read
    what these make, as far as a run with these settings has them.
    """
    present = {files for files in STAGE_FILES if _paths(files, settings)}
    stages = {name: stage for name, stage in STAGES.items() if present & {*stage.outputs}}
    makers = {name: _makers(stage.inputs, present) for name, stage in stages.items()}
    result: set[str] = set()
    for name, stage in stages.items():
        keys = {each for s in (*stage.settings, *stage.sources) for each in PROPERTIES.get(s, (s,))}
        keys |= {each for files in stage.inputs for each in STAGE_FILES[files].chosen_by}
        if any(_covers(each, key) for each in keys) and not any(
            _covers(each, key) for each in stage.without
        ):
            result.add(name)
    while more := {name for name in stages if result & makers[name]} - result:
        result |= more
    return [name for name in stages if name in result]


def _covers(setting: str, key: str) -> bool:
    return f"{key}.".startswith(f"{setting}.") or setting.startswith(f"{key}.")


def _paths(files: str, settings: Settings) -> list[Path]:
    fileset = STAGE_FILES[files]
    return fileset.paths(settings, *([] if fileset.per == "run" else [settings.training.name]))


def makes_files(stage: Stage, settings: Settings) -> bool:
    """Whether a run with these settings has files of a stage."""
    return any(_paths(files, settings) for files in stage.outputs)


def _makers(files: Iterable[str], present: Set[str]) -> set[str]:
    """Names of the stages that make those of some files that are present, or what these cover."""
    made = present & {*files}
    names = {name for name, stage in STAGES.items() if made & {*stage.outputs}}
    covered = [each for key in made for each in STAGE_FILES[key].covers]
    return names | (_makers(covered, present) if covered else set())


def _values(settings: Settings, keys: Iterable[str], without: Iterable[str]) -> dict[str, Any]:
    values = {key: _plain(_find(settings, key)) for key in keys}
    for key in without:
        section, _, last = key.rpartition(".")
        values.get(section, {}).pop(last, None)
    return values


def _find(settings: Settings, key: str) -> Any:
    value = settings
    for name in key.split("."):
        # Section simulation is None for real data.
        value = value if value is None else getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


#: Settings that stand for others, as properties of `Settings`.
PROPERTIES = {
    "held_out": (
        "sample.fractions",
        "training.refit",
        "training.name",
        "ensemble",
        "inference.model",
        "targets",
    ),
    "has_model": ("inference.model", "targets"),
    "training_splits": ("training.refit", "training.name", "ensemble", "inference.model"),
    "assessment_threshold": ("evaluation.threshold", "candidates.threshold"),
    "catalogues_from": ("targets", "survey.tree", "survey.catalogs", "survey.sweeps", "survey.tap"),
    "pixels_from": ("survey.tree", "survey.service", "cutouts.source"),
    "brick_pages": ("mosaics",),
}

_CUTOUTS = "survey.name survey.release survey.bands cutouts"
_PARENT = "survey.name survey.release survey.bands parent"
# What the scores of a model depend on; the number of cutouts per batch makes no difference.
_SCORING = "inference.symmetries inference.backend inference.precision"
# Images of a page and of a brick's page, and what the text above them states.
_PAGE = "mosaics.stretch mosaics.columns mosaics.rows"
_BRICK_PAGE = "mosaics.stretch mosaics.panels mosaics.columns mosaics.brick_tiles"
_CAPTION = "targets survey.bands cutouts.size"
_RADII = "sample.exclusion_arcsec sample.match_radius_arcsec"
_INJECTED_FROM = "sky search_model calibration model_card bricks lenses sample search_cuts chunks"
_INJECTION = f"seed held_out injection {_SCORING} sample.exclusion_arcsec candidates.threshold"
_INJECTED_RANGES = "selection.theta_e_range selection.arc_mag_range"


def _stage(function: str, files: str, settings: str = "", **fields: Any) -> Stage:
    """A stage from text: ``"inputs -> outputs"``, and names separated by spaces."""
    inputs, _, outputs = files.partition("->")
    fields = {
        key: tuple(value.split()) if isinstance(value, str) and key != "per" else value
        for key, value in fields.items()
    }
    files_of = (tuple(inputs.split()), tuple(outputs.split()))
    return Stage(function, *files_of, tuple(settings.split()), **fields)


STAGE_FILES: dict[str, FileSet] = {
    # Given by the user.
    "targets": given("targets", lambda s: [s.targets]),
    "known_lists": given(
        "sample.known_lenses sample.graded",
        lambda s: [*(catalogue.path for catalogue in s.sample.known_lenses), *s.sample.graded],
    ),
    "graded_lists": given("sample.graded", lambda s: s.sample.graded),
    "confusing_lists": given("sample.confusing", lambda s: s.sample.confusing),
    "cleaning_model": given(
        "sample.cleaning_model",
        lambda s: [s.sample.cleaning_model and str(model_file(s.sample.cleaning_model))],
    ),
    "footprint_lists": given("footprint", lambda s: s.footprint.files),
    "redshifts": given("candidates.redshifts", lambda s: s.candidates.redshifts),
    "published": given("recovery.catalogs", published),
    "population": given("expected.population", lambda s: [s.expected.population]),
    "training_sample": given("recovery.sample", lambda s: [s.recovery.sample]),
    "network": FileSet(network, "model", chosen_by=("training.network",), given=True),
    "grades": FileSet(grades, given=True),
    # The sky, its bricks and galaxies. The Snakefile makes the plan.
    "plan": made(lambda p: p.plan),
    "sky": made(lambda p: p.sky_manifest, beside="sky/**/*", when=lambda s: s.simulation),
    "bricks": made(lambda p: p.bricks),
    # Sweeps and queries look up positions of bricks.
    "brick_positions": made(
        lambda p: p.bricks,
        when=lambda s: s.survey.catalogs != "tractor" and not s.targets,
        covers="bricks",
    ),
    "parent": made(RunPaths.parent, per="chunk", beside="manifests/parent/{name}.json"),
    "parent_audit": made(RunPaths.parent_audit, per="chunk", beside="manifests/parent/{name}.json"),
    "audit": made(lambda p: p.audit),
    "cutouts": made(
        lambda p, chunk: p.manifest("cutouts", chunk),
        per="chunk",
        beside="cutouts/*/{brick}.fits",
        covers="parent",
    ),
    "brick_cutouts": made(RunPaths.cutouts, per="brick"),
    # The labelled sample and the models.
    "lenses": made(lambda p: p.lenses, beside="known/lenses.csv known/references.csv"),
    "sample": made(
        lambda p: p.sample,
        when=trains,
        beside="sample/*.tfrecord sample/records.json sample/splits.csv sample/known-lenses.csv "
        "sample/injected.parquet sample/versions/*.parquet",
    ),
    "splits": made(lambda p: p.splits, when=trains),
    "sample_report": made(lambda p: p.sample_report("report.json"), when=trains),
    "mined": made(lambda p: p.mined_index, beside="mined/*"),
    "model": made(
        RunPaths.model,
        per="model",
        beside="models/{name}/validated.keras models/{name}/config.yaml",
    ),
    "training_notes": made(lambda p, model: p.model(model, "training.json"), per="model"),
    "model_predictions": made(lambda p, m: p.model(m, "predictions.parquet"), per="model"),
    "model_calibration": made(lambda p, model: p.model(model, "calibration.json"), per="model"),
    "model_metrics": made(lambda p, model: p.model(model, "metrics.json"), per="model"),
    "model_mistakes": made(lambda p, model: p.model(model, "missed.png"), per="model"),
    "activations": made(lambda p, model: p.model(model, "activations.png"), per="model"),
    "member_models": of_models("model.keras", "model", ensemble=False),
    "member_notes": of_models("training.json", "training_notes", ensemble=False),
    "member_predictions": of_models("predictions.parquet", "model_predictions", ensemble=False),
    "all_activations": of_models("activations.png", "activations", ensemble=False),
    "all_notes": of_models("training.json", "training_notes"),
    "all_metrics": of_models("metrics.json", "model_metrics"),
    "all_mistakes": of_models("missed.png", "model_mistakes"),
    "search_model": FileSet(
        lambda s: [s.model_path] if s.has_model else [],
        covers=("model",),
        chosen_by=("inference.model", "training.name"),
    ),
    "trained_model": FileSet(
        lambda s: [s.model_path] if trains(s) else [],
        covers=("model",),
        chosen_by=("training.name",),
    ),
    "calibration": of_search("calibration.json", "model_calibration"),
    # What a given model says of itself, if anything.
    "model_card": FileSet(card, chosen_by=("inference.model",), given=True),
    "predictions": of_search("predictions.parquet", "model_predictions"),
    "trial": FileSet(
        lambda s, trial: [s.paths.model(f"{s.training.name}_trial_{trial}", "trial.json")],
        "trial",
        beside=("models/*_trial_{name}/*",),
    ),
    "sweep": made(lambda p: p.sweep("best.yaml")),
    # The search.
    "records": made(RunPaths.records, per="chunk", covers="cutouts", when=lambda s: s.has_model),
    # Without a model nothing but the list of cutouts is needed.
    "unscored": made(
        lambda p, chunk: p.manifest("cutouts", chunk),
        per="chunk",
        covers="cutouts",
        when=lambda s: not s.has_model,
    ),
    "scores": made(RunPaths.scores, per="chunk", covers="cutouts"),
    "brick_scores": made(RunPaths.brick_scores, per="brick"),
    "brick_mosaics": made(
        lambda p, chunk: p.manifest("mosaics", chunk),
        per="chunk",
        when=lambda s: s.mosaics.per_brick,
        beside="mosaics/bricks/{brick}.png",
    ),
    "brick_mosaic": made(RunPaths.brick_mosaic, per="brick"),
    "discarded": made(
        lambda p, c: p.manifest("discard", c), per="chunk", when=lambda s: s.keep == "scores"
    ),
    # Hashes of the files of all chunks: one input in place of several of each chunk.
    "chunks": made(lambda p: p.chunks, covers="scores discarded"),
    "candidates": made(lambda p: p.candidates),
    "cuts": made(lambda p: p.cuts),
    # A cut in probability is known before the search, any other only after it.
    "search_cuts": made(
        lambda p: p.cuts,
        when=lambda s: s.candidates.threshold.by != "probability",
        covers="cuts",
    ),
    "threshold": made(lambda p: p.threshold),
    "sky_map": made(lambda p: p.candidate_file("sky.png")),
    "mosaics": made(lambda p: p.mosaic_index, beside="mosaics/page-*.png"),
    # How good it is.
    "checks": made(lambda p: p.checks("checks.json")),
    "evaluation": made(lambda p: p.evaluation("metrics.json"), when=lambda s: s.held_out),
    "judged_stamps": made(
        lambda p: p.evaluation("stamps.json"), when=lambda s: s.simulation and s.evaluation.stamps
    ),
    "recovery": FileSet(
        lambda s: [s.paths.recovery(f"{list_.label}.json") for list_ in s.recovery.catalogs]
    ),
    "purity": made(lambda p: p.purity("purity.json"), when=lambda s: not s.targets),
    "injected": made(lambda p: p.selection("injected.parquet"), when=injects),
    "injected_page": made(lambda p: p.selection("injected.png"), when=injects),
    "realism": made(lambda p: p.selection("realism.json"), when=injects),
    "selection": made(
        lambda p: p.selection("selection.fits"),
        when=injects,
        beside="selection/selection.json selection/prediction.json",
    ),
    "expected": made(
        lambda p: p.expected("expected.json"), when=lambda s: injects(s) and not s.targets
    ),
    "summary": made(lambda p: p.summary),
    "page": made(lambda p: p.page),
}

STAGES: dict[str, Stage] = {
    # The rule adds the bricks where a file chooses them.
    "simulate": _stage(
        "simulation.sky:simulate", "-> sky", "seed footprint simulation", key="seed simulation"
    ),
    # No rule: the Snakefile makes the plan, and every job reads it.
    "plan": _stage(
        "",
        "targets footprint_lists -> plan",
        "targets footprint simulation.boundary_dec chunks.nside survey.name survey.release "
        "survey.tree",
        version=2,
    ),
    "bricks": _stage(
        "footprint.select:write_bricks",
        "sky targets plan -> bricks",
        "survey.name survey.release survey.bands",
        sources="survey.tree",
    ),
    "parent": _stage(
        "parent.select:parent_of_chunk",
        "sky targets brick_positions -> parent parent_audit",
        _PARENT,
        version=2,
        per="chunk",
        sources="catalogues_from",
    ),
    "audit": _stage("parent.select:merge_audits", "parent_audit -> audit"),
    "cutouts": _stage(
        "cutouts.chunk:cut_chunk",
        "sky parent -> cutouts",
        _CUTOUTS,
        version=3,
        per="chunk",
        sources="pixels_from",
    ),
    # It selects the brick's galaxies itself.
    "brick_cutouts": _stage(
        "cutouts.chunk:cut_one",
        "sky targets brick_positions -> brick_cutouts",
        f"{_CUTOUTS} parent",
        per="brick",
        sources="catalogues_from pixels_from",
        updates="cutouts",
    ),
    "known": _stage(
        "catalogs.known_lenses:merge_known",
        "sky known_lists -> lenses",
        "sample.known_lenses sample.graded sample.merge_radius_arcsec",
    ),
    # A chunk that is made again, perhaps because a server has its files at last, must not train the
    # network again; a change of what chunks are made from must.
    "sample": _stage(
        "sample.build:build_sample",
        "sky graded_lists confusing_lists cleaning_model footprint_lists lenses -> sample splits",
        f"seed sample injection records footprint parent {_CUTOUTS}",
        version=RECORD_VERSION,
        noted=True,
        sources="survey.tree catalogues_from pixels_from",
        without="sample.mined",
        waits_for="bricks cutouts",
    ),
    "sample_report": _stage(
        "sample.report:report_sample", "sample -> sample_report", f"seed {_PAGE}", noted=True
    ),
    # The lists to be graded are no outputs: Snakemake would delete them, grades and all, before
    # making them again.
    "mine": _stage(
        "sample.mining:mine",
        "sky sample lenses confusing_lists graded_lists chunks -> mined",
        f"sample.mined candidates.reject_flags {_RADII} {_PAGE}",
    ),
    "train": _stage(
        "training.fitting:train",
        "network sample -> model training_notes",
        "seed training",
        per="model",
        noted=True,
        without="training.name training.strategy",
    ),
    "predict": _stage(
        "evaluation.model:predict_held_out",
        "sky sample model training_notes -> model_predictions model_calibration",
        f"evaluation.calibration {_SCORING}",
        per="model",
        noted=True,
    ),
    "assess": _stage(
        "evaluation.model:assess",
        "model_predictions model_calibration training_notes -> model_metrics",
        "evaluation.prior evaluation.bins assessment_threshold",
        version=2,
        per="model",
        noted=True,
    ),
    "mistakes": _stage(
        "evaluation.model:show_mistakes",
        "sample model_predictions -> model_mistakes",
        f"assessment_threshold {_PAGE}",
        per="model",
        noted=True,
    ),
    "activations": _stage(
        "evaluation.activations:show_activations",
        "sample model model_predictions -> activations",
        "mosaics.stretch",
        per="model",
        noted=True,
    ),
    "ensemble": _stage(
        "training.ensemble:combine",
        "sample member_models member_notes member_predictions -> model training_notes",
        "seed ensemble.combine ensemble.hidden",
        version=2,
        noted=True,
    ),
    # Its settings are `lenspipe.training.sweep.plan.trial_settings`: other trials do not count. Its
    # scores for the validation split are those that a search would give.
    "sweep_trial": _stage(
        "training.sweep.trial:run_trial",
        "sample -> trial",
        f"seed training {_SCORING}",
        per="trial",
        noted=True,
        without="training.name training.strategy",
    ),
    # No rule: a trial whose settings Optuna proposes.
    "proposal": _stage(
        "",
        "sample -> ",
        f"seed training sweep {_SCORING}",
        per="trial",
        without="training.refit training.strategy sweep.trials",
    ),
    "sweep": _stage(
        "training.sweep.summary:summarise_sweep",
        "trial -> sweep",
        "sweep training.name training.refit",
        version=2,
        noted=True,
    ),
    # Records are as large as the cutouts and deleted once they are scored, so they wait until there
    # is a model to score them with.
    "records": _stage(
        "scoring.records:records_of_chunk",
        "cutouts -> records",
        version=RECORD_VERSION,
        per="chunk",
        waits_for="trained_model",
    ),
    # What is kept of a scoring under way is counted in batches.
    "scores": _stage(
        "scoring.score:score_chunk",
        "calibration model_card records unscored search_model -> scores",
        f"has_model training.name {_SCORING}",
        per="chunk",
        noted=True,
        key=f"training.name inference.batch_size {_SCORING}",
    ),
    "brick_scores": _stage(
        "scoring.score:score_brick",
        "calibration model_card brick_cutouts search_model -> brick_scores",
        f"has_model training.name {_SCORING}",
        per="brick",
        noted=True,
    ),
    # The manifest of the mosaics also changes where a single brick's mosaic is requested, which
    # deletes nothing. Where all are made again, cutouts have been made again for it.
    "discard": _stage(
        "cutouts.chunk:discard_chunk",
        "scores -> discarded",
        "brick_pages",
        per="chunk",
        noted=True,
        waits_for="brick_mosaics",
    ),
    # What comes after the deletion of cutouts makes some of them again, and these stay.
    "chunks": _stage("products.provenance:write_chunks", "scores discarded -> chunks"),
    "candidates": _stage(
        "candidates.find:find_candidates",
        "targets bricks lenses redshifts predictions model_card search_model chunks "
        "-> candidates cuts",
        "candidates sample.match_radius_arcsec",
    ),
    "forecast": _stage(
        "candidates.find:forecast",
        "cuts predictions purity -> threshold",
        "evaluation.prior",
        version=2,
    ),
    # The title says which galaxies are candidates.
    "sky_map": _stage(
        "candidates.skymap:write_sky_map",
        "bricks candidates search_model chunks -> sky_map",
        "candidates.threshold",
    ),
    "checks": _stage(
        "checks.run:run_checks",
        "sky bricks lenses candidates sample sample_report training_sample model_card chunks "
        "-> checks",
        f"seed training_splits checks candidates.reject_flags mosaics.stretch {_RADII} "
        "sample.split_nside",
    ),
    "evaluate": _stage(
        "evaluation.search:evaluate",
        "sky bricks sample candidates cuts chunks -> evaluation",
        f"held_out candidates.threshold candidates.reject_flags {_PAGE}",
        version=2,
    ),
    "stamps": _stage(
        "evaluation.stamps:judge_on_stamps",
        "search_model calibration model_card -> judged_stamps",
        f"seed simulation.effects survey.bands cutouts.size evaluation.stamps training.name "
        f"{_SCORING}",
        version=2,
    ),
    "recovery": _stage(
        "evaluation.recovery.comparison:measure_recovery",
        "sky published bricks sample all_notes training_sample chunks -> recovery",
        f"recovery candidates.reject_flags {_PARENT}",
        version=2,
        sources="survey.tree catalogues_from",
    ),
    "purity": _stage(
        "evaluation.purity.measure:measure_purity",
        "sky bricks lenses sample training_sample model_card cuts predictions calibration grades "
        "chunks -> purity",
        f"training_splits evaluation.prior candidates.reject_flags {_RADII}",
        version=2,
    ),
    # Which injected lenses are found takes a moment: it is in no key.
    "paint": _stage(
        "completeness.painting:inject_and_score",
        f"{_INJECTED_FROM} -> injected",
        f"{_INJECTION} selection.number {_INJECTED_RANGES} training.name candidates.reject_flags",
        version=2,
        key=f"seed injection inference.batch_size {_SCORING} {_INJECTED_RANGES} training.name",
    ),
    "injected_page": _stage(
        "completeness.painting:show_injected", "injected chunks -> injected_page", _PAGE
    ),
    "realism": _stage(
        "completeness.realism:measure_realism",
        f"{_INJECTED_FROM} confusing_lists -> realism",
        f"{_INJECTION} sample.grades sample.match_radius_arcsec",
    ),
    "selection": _stage(
        "completeness.measure:measure_selection_function",
        "sky bricks sample search_model cuts injected realism chunks -> selection",
        "held_out selection candidates.reject_flags",
        version=2,
        without=f"selection.number {_INJECTED_RANGES}",
    ),
    "expected": _stage(
        "completeness.expected.numbers:expect_lenses",
        "sky population grades splits selection injected audit bricks candidates cuts threshold "
        "chunks -> expected",
        "seed held_out expected candidates.reject_flags parent.types parent.mag_z_max cutouts.size",
        version=2,
    ),
    "mosaics": _stage(
        "mosaics.pages:draw_candidate_pages",
        "bricks candidates chunks -> mosaics",
        f"{_PAGE} mosaics.panels mosaics.sort candidates.threshold",
        version=2,
        key=f"{_PAGE} mosaics.panels mosaics.sort candidates.threshold {_CAPTION}",
    ),
    "chunk_mosaics": _stage(
        "mosaics.pages:draw_chunk_mosaics",
        "scores -> brick_mosaics",
        _BRICK_PAGE,
        version=3,
        per="chunk",
        noted=True,
        key=f"{_BRICK_PAGE} {_CAPTION}",
    ),
    "brick_mosaic": _stage(
        "mosaics.pages:draw_brick_mosaic",
        "brick_cutouts brick_scores -> brick_mosaic",
        _BRICK_PAGE,
        version=3,
        per="brick",
        noted=True,
        updates="brick_mosaics",
    ),
    "summary": _stage(
        "status.page:conclude_run",
        "targets bricks audit threshold mosaics sky_map checks evaluation sample_report "
        "all_metrics all_mistakes all_activations chunks brick_mosaics model_card -> summary",
        "held_out mosaics.per_brick",
        version=2,
    ),
    # It shows the pages of the mosaics, and links to figures, which come with their numbers.
    "page": _stage(
        "runs.index:write_index",
        "bricks candidates threshold sky_map mosaics checks evaluation judged_stamps all_notes "
        "all_metrics purity realism selection injected_page expected recovery grades model_card "
        "chunks summary -> page",
        "mosaics.sort mosaics.rows mosaics.columns mosaics.panels candidates.threshold held_out",
    ),
}
