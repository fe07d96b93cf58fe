"""lenspipe: the search for strong lenses in the Legacy Surveys, from catalogue to mosaics.

`snakemake --cores 2` runs the demo; `--configfile config/dr9.yaml` a search of real data.
"""

import gc
import os
import sys
from pathlib import Path

from lenspipe.config.base import merged
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import hide_credentials, load_settings, read_config
from lenspipe.config.stages import STAGES
from lenspipe.config.stages import makes_files
from lenspipe.config.texts import parse_arguments
from lenspipe.footprint.plan import load_plan_apart
from lenspipe.runs.steps import describe_end
from lenspipe.status.disk import describe_disk_space
from lenspipe.utils.errors import LenspipeError
from lenspipe.status.failures import reopen
from lenspipe.status.failures import reopen_pages
from lenspipe.status.failures import describe_failures

# A configuration file of one's own takes the place of the demo's, rather than adding to it.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


# The graph of a whole survey holds millions of objects that stay until the end: to go through them
# again and again for some to free takes up to a tenth of the time.
gc.set_threshold(100_000, 50, 1000)

try:
    # Snakemake loses the first of two sections of the same name, and takes what is nested in
    # --config for text.
    read_config(map(Path, workflow.configfiles))
    config.update(merged(config, parse_arguments(workflow.config_settings.config_args or ())))
    hide_credentials(config)
    SETTINGS = load_settings(config)
    if SETTINGS.inference.model and not SETTINGS.model_path.is_file():
        raise LenspipeError(
            f"{SETTINGS.model_path}: no such file, expected a trained model (.keras); correct "
            "config key inference.model, or leave it out to train one"
        )
    PLAN = load_plan_apart(SETTINGS)
except LenspipeError as error:
    raise WorkflowError(str(error)) from None

PATHS = SETTINGS.paths
CHUNKS = sorted(PLAN)
# `workflow.cores` would refuse to draw a report without --cores.
CORES = workflow.resource_settings.cores or 1
# Bricks that failed in an earlier run, but may be available to this one, are tried again, and pages that
# are gone are drawn again.
if workflow.is_main_process and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    try:
        reopen(SETTINGS, CHUNKS)
        reopen_pages(SETTINGS)
        note_settings(SETTINGS)
    except LenspipeError as error:
        raise WorkflowError(str(error)) from None
if workflow.is_main_process:
    need, warning = describe_disk_space(SETTINGS, PLAN, min(CORES, workflow.nodes or CORES))
    if need:
        logger.info(need)
    if warning:
        logger.warning(warning)
# Tell whether this run, which may make something else only, has summed up the whole search.
SUMMARY_BEFORE = PATHS.summary.stat().st_mtime_ns if PATHS.summary.exists() else None
PAGE_BEFORE = PATHS.page.stat().st_mtime_ns if PATHS.page.exists() else None
# Stages that run only where they are requested by name.
ON_REQUEST = {"mine", "sweep"}
# Stages whose parameters are also a file, workflow/rules/basis.smk.
NOTED = [name for name, stage in STAGES.items() if stage.noted]
# Jobs end soon after the workflow that started them has gone, even if it was killed with -9.
os.environ["LENSPIPE_WORKFLOW_PID"] = str(os.getpid())


wildcard_constraints:
    chunk=r"\d+-\d+",
    brick=r"\d{4}[pm]\d{3}",
    folder=r"\d{3}",
    step="|".join([*NOTED, r"train-\w+", r"trial_\d+"]),
    model=r"[A-Za-z]\w*",


include: "workflow/rules/common.smk"
include: "workflow/rules/sky.smk"
include: "workflow/rules/basis.smk"
include: "workflow/rules/parent.smk"
include: "workflow/rules/cutouts.smk"
include: "workflow/rules/records.smk"
include: "workflow/rules/known.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/chunks.smk"
include: "workflow/rules/candidates.smk"
include: "workflow/rules/mosaics.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/evaluation.smk"


# The model judged on simulated stamps, too.
if SETTINGS.simulation and SETTINGS.evaluation.stamps:

    include: "workflow/rules/stamps.smk"


# A comparison with published candidates.
if SETTINGS.recovery.catalogs:

    include: "workflow/rules/recovery.smk"


# The fraction of random galaxies above the cut; a list of targets has none.
if not SETTINGS.targets:

    include: "workflow/rules/purity.smk"


# Completeness from injected lenses, and the number of lenses to expect in the area.
if SETTINGS.selection.number:

    include: "workflow/rules/painting.smk"
    include: "workflow/rules/selection.smk"

    if not SETTINGS.targets:

        include: "workflow/rules/expected.smk"


if SETTINGS.keep == "scores":

    include: "workflow/rules/discard.smk"


# A given model is searched with as it is, and a list of targets needs none: no sample, no training, no
# evaluation.
if SETTINGS.trains:

    include: "workflow/rules/sample.smk"
    include: "workflow/rules/training.smk"
    include: "workflow/rules/assessment.smk"
    include: "workflow/rules/sweep.smk"

    if SETTINGS.ensemble.members:

        include: "workflow/rules/ensemble.smk"


# Everything that people open is among the inputs, so that it is made again where it is gone.
RESULTS = [
    each.output
    for each in workflow.rules
    if not each.has_wildcards()
    and each.name not in ON_REQUEST
    and makes_files(STAGES[each.name], SETTINGS)
]
if SETTINGS.trains:
    RESULTS += expand(rules.train.output + rules.activations.output, model=SETTINGS.models)
    RESULTS += expand(
        rules.predict.output + rules.assess.output + rules.mistakes.output,
        model={*SETTINGS.models, SETTINGS.training.name},
    )


rule all:
    default_target: True
    input:
        *RESULTS,
        of_chunks(STAGE_FILES["scores"]),


onsuccess:
    if PATHS.page.exists() and PATHS.page.stat().st_mtime_ns != PAGE_BEFORE:
        logger.info(describe_end(SETTINGS))
    # Only here, when all has been done without the bricks that failed: the exit status says so.
    if PATHS.summary.exists() and PATHS.summary.stat().st_mtime_ns != SUMMARY_BEFORE:
        if failed := describe_failures(SETTINGS):
            # A WorkflowError would add its place in this file to the last lines.
            logger.error(failed)
            sys.exit(1)
