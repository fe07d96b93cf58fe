"""A sweep over training settings: `snakemake sweep`.

Needs: the labelled sample. Gives: a model and a result per trial, their table, the settings of the best
one and a figure.
"""

from lenspipe.config.paths import network_source
from lenspipe.training.sweep.plan import check_sweep
from lenspipe.training.sweep.plan import trial_name
from lenspipe.training.sweep.plan import trial_parameters
from lenspipe.training.sweep.plan import trials

TRIALS = trials(SETTINGS)


def results_of_trials(wildcards):
    """Input function: the results of all trials, if there is a sweep to run."""
    try:
        check_sweep(SETTINGS)
    except LenspipeError as error:
        raise WorkflowError(str(error)) from None
    return [
        PATHS.model(trial_name(SETTINGS, number), "trial.json") for number in range(len(TRIALS))
    ]


def network_of_trial(values):
    """File of a user-defined network; None where there is none."""
    return network_source((values or {}).get("network", SETTINGS.training.network))


rule sweep:
    input:
        basis("sweep"),
        results_of_trials,
    output:
        PATHS.sweep("sweep.csv"),
        PATHS.sweep("best.yaml"),
        shown("sweep", PATHS.sweep("sweep.png"), subcategory="sweep"),
    log:
        PATHS.log("sweep"),
    benchmark:
        PATHS.benchmark("sweep")
    resources:
        mem_mb=grows(1000),
        runtime=30,
    message:
        "Comparing the trials of the sweep"
    script:
        "../scripts/stage.py"


rule sweep_trial:
    input:
        basis("trial_{trial}"),
        ancient(lambda wildcards: network_of_trial(TRIALS[int(wildcards.trial)]) or []),
        *inputs("sweep_trial"),
    output:
        PATHS.model(f"{SETTINGS.training.name}_trial_{{trial}}", "trial.json"),
    log:
        PATHS.log("sweep_trial", "{trial}"),
    benchmark:
        PATHS.benchmark("sweep_trial", "{trial}")
    wildcard_constraints:
        trial=r"\d\d\d+",
    threads: CORES
    resources:
        mem_mb=grows(8000),
        runtime=1440,
        gpu=1,
    message:
        "Training trial {wildcards.trial} of the sweep"
    script:
        "../scripts/stage.py"
