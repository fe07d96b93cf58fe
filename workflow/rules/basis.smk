"""What a step is made from, as a file that the step has among its inputs.

Needs: the configuration, and the lists of the labelled sample. Gives: a small file per step.

The sample waits for all chunks with `ancient`, so that a chunk made again does not train the network
anew. Where a chunk has to be made, Snakemake (9.27) does not compare the parameters and inputs of
any job that comes after it, be it by such a link alone. It does compare those of this rule, which
comes after no chunk, and a step that has this rule's file among its inputs follows.
"""

from lenspipe.paths import is_remote

SAMPLE = SETTINGS.sample
MADE_FROM = {
    "sample": section("survey", "footprint", "parent", "injection", "records")
    | {
        "seed": SETTINGS.seed,
        "sample": SAMPLE.model_dump(mode="json", exclude={"mined"}),
        "cutouts": SETTINGS.cutouts.model_dump(exclude={"skip_unreadable"}),
    },
    "train": section("training") | {"seed": SETTINGS.seed},
    "scores": section("inference"),
    "mosaics": section("mosaics"),
}
# Local files only; what else catalogues of known lenses hold is in the table made of them.
LISTS = [
    path
    for path in (*SAMPLE.confusing, *SAMPLE.graded, SAMPLE.cleaning_model)
    if path and not is_remote(path)
]


def basis(step):
    """File of what a step is made from."""
    return PATHS.root / "basis" / f"{step}.json"


localrules:
    basis,


rule basis:
    input:
        lambda wildcards: SKY + LISTS if wildcards.step == "sample" else [],
    output:
        basis("{step}"),
    log:
        PATHS.log("basis", "{step}"),
    params:
        settings=lambda wildcards: MADE_FROM[wildcards.step],
    message:
        "Noting what {wildcards.step} is made from"
    script:
        "../scripts/basis.py"
