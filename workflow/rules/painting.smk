"""Lenses painted onto galaxies that the network never learnt from, and how real they look.

Needs: the model, parent samples and cutouts of all chunks, known lenses, the labelled sample if the
run has one, scores, the candidates' cut. Gives: a table of painted lenses with their scores, and whether
they can be told from real ones; a figure of each.
"""


rule paint:
    input:
        *inputs("paint"),
    output:
        PATHS.selection("injected.parquet"),
    log:
        PATHS.log("paint"),
    benchmark:
        PATHS.benchmark("paint")
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
        gpu=1,
    params:
        basis=made_from("paint"),
    message:
        "Painting lenses onto galaxies that training never saw"
    script:
        "../scripts/stage.py"


rule injected_page:
    input:
        *inputs("injected_page"),
    output:
        shown("injected", PATHS.selection("injected.png")),
    log:
        PATHS.log("injected_page"),
    benchmark:
        PATHS.benchmark("injected_page")
    resources:
        mem_mb=grows(2000),
        runtime=30,
    params:
        basis=made_from("injected_page"),
    message:
        "Drawing a page of injected lenses"
    script:
        "../scripts/stage.py"


rule realism:
    input:
        *inputs("realism"),
    output:
        PATHS.selection("realism.json"),
        shown("realism", PATHS.selection("realism.png")),
    log:
        PATHS.log("realism"),
    benchmark:
        PATHS.benchmark("realism")
    resources:
        mem_mb=grows(4000),
        runtime=60,
        gpu=1,
    params:
        basis=made_from("realism"),
    message:
        "Comparing painted lenses with real ones"
    script:
        "../scripts/stage.py"
