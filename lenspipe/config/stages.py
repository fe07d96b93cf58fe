"""Inputs, outputs, settings and version of every stage of the workflow, in one table.

The rules take their inputs and parameters from it, the files ``basis/<stage>.json`` their content,
and everything that is kept and used again its key. Each setting that a stage reads is named here:
tests run every stage with nothing but its inputs and compare the settings that it read.

Snakemake imports this module whenever it parses the Snakefile, so it imports nothing heavy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from lenspipe.config.settings import Settings
from lenspipe.config.stage_files import STAGE_FILES, Unit
from lenspipe.utils.hashing import digest

__all__ = ["RECORD_VERSION", "STAGES", "Stage", "content_key", "stage_parameters", "upstream"]

#: Version of records, those for scoring and those of the labelled sample.
RECORD_VERSION = 2


@dataclass(frozen=True)
class Stage:
    """A rule of the workflow.

    Attributes
    ----------
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


def upstream(name: str) -> set[str]:
    """Names of the stages that make a stage's inputs, directly or indirectly."""
    result: set[str] = set()
    pending = [*STAGES[name].inputs, *STAGES[name].waits_for]
    while pending:
        files = pending.pop()
        pending += STAGE_FILES[files].covers
        for maker, stage in STAGES.items():
            if files in stage.outputs and maker not in result:
                result.add(maker)
                pending += [*stage.inputs, *stage.waits_for]
    return result


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


_CUTOUTS = "survey.name survey.release survey.bands cutouts"
_PARENT = "survey.name survey.release survey.bands parent"
# What the scores of a model depend on; the number of cutouts per batch makes no difference.
_SCORING = "inference.symmetries inference.backend inference.precision"
# Images of a page and of a brick's page, and what the text above them states.
_PAGE = "mosaics.stretch mosaics.columns mosaics.rows"
_BRICK_PAGE = "mosaics.stretch mosaics.panels mosaics.columns mosaics.brick_tiles"
_CAPTION = "targets survey.bands cutouts.size"
_RADII = "sample.exclusion_arcsec sample.match_radius_arcsec"
_INJECTED_FROM = "sky search_model calibration bricks lenses sample search_cuts chunks"
_INJECTION = f"seed held_out injection {_SCORING} sample.exclusion_arcsec candidates.threshold"
_INJECTED_RANGES = "selection.theta_e_range selection.source_mag_range selection.lenses"


def _stage(files: str, settings: str = "", **fields: Any) -> Stage:
    """A stage from text: ``"inputs -> outputs"``, and names separated by spaces."""
    inputs, _, outputs = files.partition("->")
    fields = {
        key: tuple(value.split()) if isinstance(value, str) and key != "per" else value
        for key, value in fields.items()
    }
    return Stage(tuple(inputs.split()), tuple(outputs.split()), tuple(settings.split()), **fields)


STAGES: dict[str, Stage] = {
    # The rule adds the bricks where a file chooses them.
    "simulate": _stage("-> sky", "seed footprint simulation", key="seed simulation"),
    # No rule: the Snakefile makes the plan, and every job reads it.
    "plan": _stage(
        "targets footprint_lists -> plan",
        "targets footprint simulation.boundary_dec chunks.nside survey.name survey.release "
        "survey.tree",
        version=2,
    ),
    "bricks": _stage(
        "sky targets plan -> bricks",
        "survey.name survey.release survey.bands",
        sources="survey.tree",
    ),
    "parent": _stage(
        "sky targets brick_positions -> parent parent_audit",
        _PARENT,
        per="chunk",
        sources="catalogues_from",
    ),
    "audit": _stage("parent_audit -> audit"),
    "cutouts": _stage(
        "sky parent -> cutouts", _CUTOUTS, version=2, per="chunk", sources="pixels_from"
    ),
    # It selects the brick's galaxies itself.
    "brick_cutouts": _stage(
        "sky targets brick_positions -> brick_cutouts",
        f"{_CUTOUTS} parent",
        per="brick",
        sources="catalogues_from pixels_from",
        updates="cutouts",
    ),
    "known": _stage(
        "sky known_lists -> lenses",
        "sample.known_lenses sample.graded sample.merge_radius_arcsec",
    ),
    # A chunk that is made again, perhaps because a server has its files at last, must not train the
    # network again; a change of what chunks are made from must.
    "sample": _stage(
        "sky graded_lists confusing_lists cleaning_model footprint_lists lenses -> sample splits",
        f"seed sample injection records footprint parent {_CUTOUTS}",
        version=RECORD_VERSION,
        noted=True,
        sources="survey.tree catalogues_from pixels_from",
        without="sample.mined",
        waits_for="bricks cutouts",
    ),
    "sample_report": _stage("sample -> sample_report", f"seed {_PAGE}", noted=True),
    # The lists to be graded are no outputs: Snakemake would delete them, grades and all, before
    # making them again.
    "mine": _stage(
        "sky sample lenses confusing_lists graded_lists chunks -> mined",
        f"sample.mined candidates.reject_flags {_RADII} {_PAGE}",
    ),
    "train": _stage(
        "network sample -> model training_notes",
        "seed training",
        per="model",
        noted=True,
        without="training.name training.strategy",
    ),
    "predict": _stage(
        "sky sample model training_notes -> model_predictions model_calibration",
        f"evaluation.calibration {_SCORING}",
        per="model",
        noted=True,
    ),
    "assess": _stage(
        "model_predictions model_calibration training_notes -> model_metrics",
        "evaluation.prior evaluation.bins assessment_threshold",
        per="model",
        noted=True,
    ),
    "mistakes": _stage(
        "sample model_predictions -> model_mistakes",
        f"assessment_threshold {_PAGE}",
        per="model",
        noted=True,
    ),
    "activations": _stage(
        "sample model model_predictions -> activations",
        "mosaics.stretch",
        per="model",
        noted=True,
    ),
    "ensemble": _stage(
        "sample member_models member_notes member_predictions -> model training_notes",
        "seed ensemble.combine ensemble.hidden",
        noted=True,
    ),
    # Its settings are `lenspipe.training.sweep.plan.trial_settings`: other trials do not count. Its
    # scores for the validation split are those that a search would give.
    "sweep_trial": _stage(
        "sample -> trial",
        f"seed training {_SCORING}",
        per="trial",
        noted=True,
        without="training.name training.strategy",
    ),
    # No rule: a trial whose settings Optuna proposes.
    "proposal": _stage(
        "sample -> ",
        f"seed training sweep {_SCORING}",
        per="trial",
        without="training.refit training.strategy sweep.trials",
    ),
    "sweep": _stage("trial -> sweep", "sweep training.name training.refit", noted=True),
    # Records are as large as the cutouts and deleted once they are scored, so they wait until there
    # is a model to score them with.
    "records": _stage(
        "cutouts -> records", version=RECORD_VERSION, per="chunk", waits_for="trained_model"
    ),
    # What is kept of a scoring under way is counted in batches.
    "scores": _stage(
        "calibration records search_model -> scores",
        f"training.name {_SCORING}",
        per="chunk",
        noted=True,
        key=f"training.name inference.batch_size {_SCORING}",
    ),
    "brick_scores": _stage(
        "calibration brick_cutouts search_model -> brick_scores",
        f"training.name {_SCORING}",
        per="brick",
        noted=True,
    ),
    # The manifest of the mosaics also changes where a single brick's mosaic is requested, which
    # deletes nothing. Where all are made again, cutouts have been made again for it.
    "discard": _stage(
        "scores -> discarded",
        "brick_pages",
        per="chunk",
        noted=True,
        waits_for="brick_mosaics",
    ),
    # What comes after the deletion of cutouts makes some of them again, and these stay.
    "chunks": _stage("scores discarded -> chunks"),
    "candidates": _stage(
        "targets bricks lenses redshifts predictions chunks -> candidates cuts",
        "candidates sample.match_radius_arcsec",
    ),
    "forecast": _stage("cuts predictions -> threshold", "evaluation.prior"),
    # It links to the pages of the mosaics.
    "candidate_list": _stage(
        "candidates threshold -> candidate_list",
        "mosaics.sort mosaics.rows mosaics.columns mosaics.panels",
    ),
    # The title says which galaxies are candidates.
    "sky_map": _stage("bricks candidates chunks -> sky_map", "candidates.threshold"),
    "checks": _stage(
        "sky bricks lenses candidates sample sample_report training_sample chunks -> checks",
        f"seed training_splits checks candidates.reject_flags mosaics.stretch {_RADII} "
        "sample.split_nside",
    ),
    "evaluate": _stage(
        "sky bricks sample candidates cuts chunks -> evaluation",
        f"held_out candidates.threshold candidates.reject_flags {_PAGE}",
    ),
    "recovery": _stage(
        "sky published bricks sample all_notes training_sample chunks -> recovery",
        f"recovery candidates.reject_flags {_PARENT}",
        sources="survey.tree catalogues_from",
    ),
    "purity": _stage(
        "sky bricks lenses sample training_sample cuts predictions calibration grades chunks "
        "-> purity",
        f"training_splits evaluation.prior candidates.reject_flags {_RADII}",
    ),
    # Which injected lenses are found takes a moment: it is in no key.
    "paint": _stage(
        f"{_INJECTED_FROM} -> injected",
        f"{_INJECTION} selection.number {_INJECTED_RANGES} training.name candidates.reject_flags",
        version=2,
        key=f"seed injection inference.batch_size {_SCORING} {_INJECTED_RANGES} training.name",
    ),
    "injected_page": _stage("injected chunks -> injected_page", _PAGE),
    "realism": _stage(
        f"{_INJECTED_FROM} confusing_lists -> realism",
        f"{_INJECTION} sample.grades sample.match_radius_arcsec mosaics.stretch",
    ),
    "selection": _stage(
        "sky bricks sample search_model cuts injected realism chunks -> selection",
        "held_out selection candidates.reject_flags",
        without=f"selection.number {_INJECTED_RANGES}",
    ),
    "expected": _stage(
        "sky population grades splits selection injected audit bricks candidates cuts threshold "
        "chunks -> expected",
        "seed held_out expected parent.types parent.mag_z_max cutouts.size selection.lenses",
    ),
    "mosaics": _stage(
        "bricks candidates chunks -> mosaics",
        f"{_PAGE} mosaics.panels mosaics.sort candidates.threshold",
        version=2,
        key=f"{_PAGE} mosaics.panels mosaics.sort candidates.threshold {_CAPTION}",
    ),
    "chunk_mosaics": _stage(
        "scores -> brick_mosaics",
        _BRICK_PAGE,
        version=3,
        per="chunk",
        noted=True,
        key=f"{_BRICK_PAGE} {_CAPTION}",
    ),
    "brick_mosaic": _stage(
        "brick_cutouts brick_scores -> brick_mosaic",
        _BRICK_PAGE,
        version=3,
        per="brick",
        noted=True,
        updates="brick_mosaics",
    ),
    "summary": _stage(
        "targets bricks audit candidate_list mosaics sky_map checks evaluation sample_report "
        "all_metrics all_mistakes all_activations chunks brick_mosaics -> summary",
        "held_out mosaics.per_brick",
    ),
}
