"""Training.

Needs: the labelled sample. Gives: the model and everything to judge it by.
"""


rule train:
    input:
        basis("train"),
        PATHS.sample,
    output:
        model=MODEL,
        metrics=PATHS.model(SETTINGS.training.name, "metrics.json"),
        history=PATHS.model(SETTINGS.training.name, "history.csv"),
    log:
        PATHS.log("train", SETTINGS.training.name),
    benchmark:
        PATHS.benchmark("train", SETTINGS.training.name)
    threads: workflow.cores
    resources:
        mem_mb=8000,
        gpu=1,
    params:
        settings=section("training") | {"seed": SETTINGS.seed},
    message:
        "Training {params.settings[training][network]} for {params.settings[training][epochs]} epochs"
    script:
        "../scripts/train.py"
