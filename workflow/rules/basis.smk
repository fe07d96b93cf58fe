"""What a step is made from, as a file that the step has among its inputs.

Needs: the configuration, and lists that the user gives. Gives: a small file per step.

The sample waits for all chunks with `ancient`, so that a chunk made again does not train the network
anew. Where a chunk has to be made, Snakemake (9.27) does not compare the parameters and inputs of
any job that comes after it, even if only by such a link. It does compare those of this rule, which
comes after no chunk, and a step that has this rule's file among its inputs follows. Steps are the
stages of the table that are `noted`, each network (train-NAME) and each trial (trial_000).
"""


def parameters_of(wildcards):
    """Parameters of a step."""
    step = wildcards.step
    if step.startswith("train-"):
        return parameters("train", SETTINGS.of_model(step.removeprefix("train-")))
    if step.startswith("trial_"):
        number = int(step.removeprefix("trial_"))
        source = network_of_trial(TRIALS[number])
        return trial_parameters(SETTINGS, number, TRIALS[number]) | content_hashes(
            [source] if source else [], PATHS.given_hashes
        )
    return parameters(step, SETTINGS)


def files_noted(wildcards):
    """Input function: for the sample the sky, whose chunks it only waits for."""
    return STAGE_FILES["sky"].paths(SETTINGS) if wildcards.step == "sample" else []


localrules:
    basis,


rule basis:
    input:
        files_noted,
    output:
        basis("{step}"),
    log:
        PATHS.log("basis", "{step}"),
    params:
        settings=parameters_of,
    message:
        "Noting what {wildcards.step} is made from"
    script:
        "../scripts/basis.py"
