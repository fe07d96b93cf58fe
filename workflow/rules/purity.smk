"""Purity: how many random galaxies of the search pass, and what its candidates hold.

Needs: scores and parent samples of all chunks, the labelled sample and the scores of held-out
galaxies if the run has them, the candidates' cuts, the known lenses, the grades once they are
exported. Gives: false-positive rates with intervals, and what to expect, as tables and a figure.
"""


rule purity:
    input:
        *inputs("purity"),
    output:
        PATHS.purity("purity.json"),
        shown("purity_table", PATHS.purity("purity.csv")),
        shown("purity", PATHS.purity("purity.png")),
    log:
        PATHS.log("purity"),
    benchmark:
        PATHS.benchmark("purity")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("purity"),
    message:
        "Measuring how many random galaxies pass"
    script:
        "../scripts/stage.py"
