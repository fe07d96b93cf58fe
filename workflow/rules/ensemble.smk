"""Ensemble: the networks as one model.

Needs: the members' models and their predictions. Gives: the model to search with, and what combining
adds.
"""

ENSEMBLE = SETTINGS.training.name


rule ensemble:
    input:
        basis("ensemble"),
        expand(PATHS.model("{model}"), model=SETTINGS.models),
        expand(PATHS.model("{model}", "training.json"), model=SETTINGS.models),
        expand(PATHS.model("{model}", "predictions.parquet"), model=SETTINGS.models),
    output:
        PATHS.model(ENSEMBLE, "training.json"),
        PATHS.model(ENSEMBLE, "ensemble.json"),
        report(
            PATHS.model(ENSEMBLE, "ensemble.png"),
            caption="../report/ensemble.rst",
            category="Models",
            subcategory=ENSEMBLE,
            labels={"figure": "members and combinations"},
        ),
        model=PATHS.model(ENSEMBLE),
    log:
        PATHS.log("ensemble", ENSEMBLE),
    benchmark:
        PATHS.benchmark("ensemble", ENSEMBLE)
    resources:
        mem_mb=grows(4000),
        runtime=120,
    params:
        settings=section("ensemble") | {"seed": SETTINGS.seed},
    message:
        "Combining {params.settings[ensemble][combine]} of the networks"
    script:
        "../scripts/ensemble.py"
