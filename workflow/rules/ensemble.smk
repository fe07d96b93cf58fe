"""Ensemble: the networks as one model.

Needs: the members' models and their predictions. Gives: the model to search with, and what combining
adds.
"""

ENSEMBLE = SETTINGS.training.name


rule ensemble:
    input:
        *inputs("ensemble"),
    output:
        PATHS.model(ENSEMBLE, "training.json"),
        PATHS.model(ENSEMBLE, "ensemble.json"),
        shown("ensemble", PATHS.model(ENSEMBLE, "ensemble.png"), subcategory=ENSEMBLE),
        model=PATHS.model(ENSEMBLE),
    log:
        PATHS.log("ensemble", ENSEMBLE),
    benchmark:
        PATHS.benchmark("ensemble", ENSEMBLE)
    resources:
        mem_mb=grows(4000),
        runtime=120,
    params:
        combine=SETTINGS.ensemble.combine,
    message:
        "Combining {params.combine} of the networks"
    script:
        "../scripts/stage.py"
