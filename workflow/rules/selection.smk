"""The selection function: which lenses the search finds.

Needs: painted lenses, the model, the truth of a simulated sky. Gives: the function with its table of
cells, its summary and figure; on a simulated sky what it predicts of the planted lenses.
"""

# On a simulated sky with bricks that training never saw.
PREDICTED = SETTINGS.simulation and SETTINGS.held_out


rule selection:
    input:
        *inputs("selection"),
    output:
        PATHS.selection("selection.json"),
        PATHS.selection("selection.fits"),
        PATHS.selection("prediction.json") if PREDICTED else [],
        shown("completeness", PATHS.selection("completeness.png")),
        shown("prediction", PATHS.selection("prediction.png")) if PREDICTED else [],
    log:
        PATHS.log("selection"),
    benchmark:
        PATHS.benchmark("selection")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("selection"),
    message:
        "Fitting completeness to the painted lenses"
    script:
        "../scripts/stage.py"
