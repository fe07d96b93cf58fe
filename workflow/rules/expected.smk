"""How many lenses the search should find.

Needs: the selection function, candidates, parent samples and their audit, a table of lenses if there
is one, grades if they were exported. Gives: numbers, a table of bins and a figure.
"""


rule expected:
    input:
        *inputs("expected"),
    output:
        PATHS.expected("expected.json"),
        shown("expected_table", PATHS.expected("expected.csv")),
        shown("expected", PATHS.expected("expected.png")),
    log:
        PATHS.log("expected"),
    benchmark:
        PATHS.benchmark("expected")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("expected"),
    message:
        "Expecting numbers of lenses"
    script:
        "../scripts/stage.py"
