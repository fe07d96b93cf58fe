"""Standing checks: what may be wrong with a run without any error.

Needs: scores, parent samples, candidates, known lenses; the labelled sample, its records and report
if the run has them. Gives: a page, the same as numbers, and the bricks whose scores are far off.
"""


rule checks:
    input:
        *inputs("checks"),
    output:
        PATHS.checks("checks.json"),
        PATHS.checks("drift.csv"),
        shown("checks", PATHS.checks("checks.html")),
        shown("drift", PATHS.checks("drift.png")),
    log:
        PATHS.log("checks"),
    benchmark:
        PATHS.benchmark("checks")
    resources:
        mem_mb=grows(2000),
        runtime=120,
        connections=CONNECTIONS,
    params:
        basis=made_from("checks"),
    message:
        "Checking the run"
    script:
        "../scripts/stage.py"
