"""How well the search did, and the run's figures.

Needs: scores, the labelled sample, the truth of a simulated sky, mosaics. Gives: metrics, figures,
the summary, the page on what was done, and the page of the run.
"""


rule evaluate:
    input:
        *inputs("evaluate"),
    output:
        PATHS.evaluation("metrics.json"),
        [
            shown(f"evaluation_{figure}", PATHS.evaluation(f"{figure}.png"))
            for figure in ["roc", "completeness", "scores"]
        ],
    log:
        PATHS.log("evaluate"),
    benchmark:
        PATHS.benchmark("evaluate")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("evaluate"),
    message:
        "Comparing with the truth on bricks that the training never saw"
    script:
        "../scripts/stage.py"


rule summary:
    input:
        *inputs("summary"),
    output:
        PATHS.summary,
        PATHS.missing,
        shown("status", PATHS.status_page),
    log:
        PATHS.log("summary"),
    resources:
        mem_mb=grows(500),
        runtime=30,
    params:
        basis=made_from("summary"),
    message:
        "Summing up"
    script:
        "../scripts/stage.py"


rule page:
    input:
        *inputs("page"),
    output:
        PATHS.page,
    log:
        PATHS.log("page"),
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        basis=made_from("page"),
    message:
        "Writing the page of the run"
    script:
        "../scripts/stage.py"
