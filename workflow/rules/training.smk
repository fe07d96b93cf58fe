"""Training: each network of the run.

Needs: the labelled sample. Gives: the model, and what its training was like.
"""


rule train:
    input:
        basis("train-{model}"),
        *inputs("train"),
    output:
        # Not deleted beforehand: a model of the same sample and settings is not trained again.
        update(PATHS.model("{model}", "history.csv")),
        update(PATHS.model("{model}", "training.json")),
        shown("history", update(PATHS.model("{model}", "history.png")), subcategory="{model}"),
        model=update(PATHS.model("{model}")),
    log:
        PATHS.log("train", "{model}"),
    benchmark:
        PATHS.benchmark("train", "{model}")
    wildcard_constraints:
        model="|".join(SETTINGS.models),
    threads: CORES
    resources:
        mem_mb=grows(8000),
        runtime=1440,
        gpu=1,
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/stage.py"
