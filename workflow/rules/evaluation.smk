"""How well the search did, and the run's figures.

Needs: scores, the labelled sample, the truth of a simulated sky, mosaics. Gives: metrics, figures,
the summary and the page on what was done.
"""


rule evaluate:
    input:
        SKY,
        PATHS.sample,
        PATHS.candidates,
        PATHS.threshold,
        of_chunks(PATHS.scores),
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
    message:
        "Comparing with the truth on bricks that the training never saw"
    script:
        "../scripts/evaluate.py"


rule summary:
    input:
        PATHS.evaluation("metrics.json") if SETTINGS.held_out else [],
        PATHS.sample_report("report.json") if TRAINED else [],
        expand(PATHS.model("{model}", "metrics.json"), model={*TRAINED, SETTINGS.training.name})
        if TRAINED
        else [],
        expand(PATHS.model("{model}", "activations.png"), model=TRAINED),
        TARGETS,
        PATHS.bricks,
        PATHS.audit,
        PATHS.mosaic_index,
        PATHS.checks("checks.json"),
        PATHS.candidate_file("sky.png"),
        manifests("cutouts"),
        manifests("mosaics") if SETTINGS.mosaics.per_brick else [],
    output:
        PATHS.summary,
        report(PATHS.status_page, caption="../report/status.rst", category="Run"),
    log:
        PATHS.log("summary"),
    resources:
        mem_mb=grows(500),
        runtime=30,
    message:
        "Summing up"
    script:
        "../scripts/summary.py"
