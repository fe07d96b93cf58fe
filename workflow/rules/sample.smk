"""The labelled sample that a network learns from, and the galaxies to grade for the next one.

Needs: parent samples and cutouts of all chunks, known lenses, lists of other galaxies; mining also
the scores. Gives: records and table of the sample, its report, and a list of mined galaxies.
"""


rule sample:
    input:
        *inputs("sample"),
    output:
        PATHS.sample,
        PATHS.sample_lenses,
        PATHS.records_manifest,
        PATHS.splits,
    log:
        PATHS.log("sample"),
    benchmark:
        PATHS.benchmark("sample")
    resources:
        mem_mb=grows(4000),
        runtime=480,
    message:
        "Drawing the labelled sample"
    script:
        "../scripts/stage.py"


rule sample_report:
    input:
        *inputs("sample_report"),
    output:
        PATHS.sample_report("report.json"),
        PATHS.sample_report("report.html"),
        shown("distributions", PATHS.sample_report("distributions.png")),
        shown("sample_sky", PATHS.sample_report("sky.png")),
    log:
        PATHS.log("sample_report"),
    benchmark:
        PATHS.benchmark("sample_report")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    message:
        "Describing the labelled sample"
    script:
        "../scripts/stage.py"


rule mine:
    input:
        *inputs("mine"),
    output:
        # The list to be graded is not declared: Snakemake would delete it, grades and all, before
        # it makes it again, and it could not be an input of the next sample.
        PATHS.mined_index,
    log:
        PATHS.log("mine"),
    benchmark:
        PATHS.benchmark("mine")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("mine"),
    message:
        "Choosing galaxies for visual inspection"
    script:
        "../scripts/stage.py"
