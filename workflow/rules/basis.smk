"""What a step is made from, as a file that the step has among its inputs.

Needs: the configuration, and the lists of the labelled sample. Gives: a small file per step.

The sample waits for all chunks with `ancient`, so that a chunk made again does not train the network
anew. Where a chunk has to be made, Snakemake (9.27) does not compare the parameters and inputs of
any job that comes after it, be it by such a link alone. It does compare those of this rule, which
comes after no chunk, and a step that has this rule's file among its inputs follows.
"""

from lenspipe.utils.files import is_remote
from lenspipe.config.paths import network_source

SAMPLE = SETTINGS.sample
MADE_FROM = {
    "sample": section("survey", "footprint", "parent", "cutouts", "injection", "records")
    | {
        "seed": SETTINGS.seed,
        "sample": SAMPLE.model_dump(mode="json", exclude={"mined"}),
    },
    "assess": section("evaluation", "mosaics")
    | {
        "threshold": SETTINGS.candidates.threshold.assumed,
        "symmetries": SETTINGS.inference.symmetries,
    },
    "ensemble": section("ensemble") | {"seed": SETTINGS.seed},
    "scores": section("inference"),
    "mosaics": section("mosaics"),
}


def made_from(step):
    """Settings that a step depends on; a network's source, where it is the user's, is a file."""
    kind, _, model = step.partition("-")
    if kind != "train":
        return MADE_FROM[step]
    training = SETTINGS.of_model(model).training
    return {"training": training.model_dump(mode="json"), "seed": SETTINGS.seed}


def files_of(wildcards):
    """Input function: files other than the survey's that a step reads."""
    kind, _, model = wildcards.step.partition("-")
    if kind == "sample":
        return SKY + LISTS
    own = network_source(SETTINGS.of_model(model).training.network) if model else None
    return [own] if own else []


# Local files only; what else catalogues of known lenses hold is in the table made of them.
LISTS = [
    path
    for path in (
        *SAMPLE.confusing,
        *SAMPLE.graded,
        SAMPLE.cleaning_model,
        *SETTINGS.footprint.files,
    )
    if path and not is_remote(path)
]


def basis(step):
    """File of what a step is made from."""
    return PATHS.root / "basis" / f"{step}.json"


localrules:
    basis,


rule basis:
    input:
        files_of,
    output:
        basis("{step}"),
    log:
        PATHS.log("basis", "{step}"),
    params:
        settings=lambda wildcards: made_from(wildcards.step),
    message:
        "Noting what {wildcards.step} is made from"
    script:
        "../scripts/basis.py"
