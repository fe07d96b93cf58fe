"""How well the search did, and the run's figures.

Needs: scores, the labelled sample, the truth of a simulated sky, mosaics. Gives: metrics, figures,
the summary and the page on what was done.
"""


rule evaluate:
    input:
        *inputs("evaluate"),
    output:
        PATHS.evaluation("metrics.json"),
        report(
            expand(PATHS.evaluation("{figure}.png"), figure=["roc", "completeness", "scores"]),
            caption="../report/evaluation.rst",
            category="Evaluation",
        ),
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
        report(PATHS.status_page, caption="../report/status.rst", category="Run"),
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
