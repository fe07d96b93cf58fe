"""What a step is made from, as a file that the step has among its inputs.

Needs: the configuration, and lists that the user gives. Gives: a small file per step.

The sample waits for all chunks with `ancient`, so that a chunk made again does not train the network
anew. Where a chunk has to be made, Snakemake (9.27) does not compare the parameters and inputs of
any job that comes after it, even if only by such a link. It does compare those of this rule, which
comes after no chunk, and a step that has this rule's file among its inputs follows. Steps are the
stages of the table that are `noted`, each network (train-NAME) and each trial (trial_000).
"""

# No stage makes these files.
GIVEN = STAGE_FILES.keys() - {name for stage in STAGES.values() for name in stage.outputs}


def parameters_of(wildcards):
    """Parameters of a step."""
    step = wildcards.step
    if step.startswith("train-"):
        return stage_parameters("train", SETTINGS.of_model(step.removeprefix("train-")))
    if step.startswith("trial_"):
        number = int(step.removeprefix("trial_"))
        return trial_parameters(SETTINGS, number, TRIALS[number])
    return made_from(step)


def files_noted(wildcards):
    """Input function: files that a step reads and the user gives; for the sample also the sky."""
    stage, _, model = wildcards.step.partition("-")
    names = [name for name in getattr(STAGES.get(stage), "inputs", ()) if name in GIVEN]
    names += ["sky"] if stage == "sample" else []
    return [
        path for name in names for path in STAGE_FILES[name].paths(SETTINGS, *filter(None, [model]))
    ]


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
