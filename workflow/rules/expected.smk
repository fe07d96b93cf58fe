"""How many lenses the search should find.

Needs: the selection function, candidates, parent samples and their audit, a table of lenses if there
is one, grades if they were exported. Gives: numbers, a table of bins and a figure.
"""

POPULATION = SETTINGS.expected.population
# Where people have graded candidates, that says more of them than rates do.
GRADES = PATHS.inspection("grades.csv")


rule expected:
    input:
        SKY,
        [POPULATION] if POPULATION else [],
        [GRADES] if GRADES.exists() else [],
        PATHS.splits if SETTINGS.simulation and TRAINED else [],
        PATHS.selection("selection.fits"),
        PATHS.selection("injected.parquet"),
        PATHS.audit,
        PATHS.bricks,
        PATHS.candidates,
        PATHS.threshold,
        of_chunks(PATHS.parent),
        manifests("cutouts"),
    output:
        PATHS.expected("expected.json"),
        report(
            [PATHS.expected("expected.csv"), PATHS.expected("expected.png")],
            caption="../report/expected.rst",
            category="Completeness",
        ),
    log:
        PATHS.log("expected"),
    benchmark:
        PATHS.benchmark("expected")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        settings=section("expected", "parent", "survey"),
        size=SETTINGS.cutouts.size,
    message:
        "Expecting numbers of lenses"
    script:
        "../scripts/expected.py"
