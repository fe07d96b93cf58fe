"""The labelled sample that a network learns from, and what is given to the eye for the next one.

Needs: parent samples and cutouts of all chunks, known lenses, lists of other galaxies; mining also
the scores. Gives: records and table of the sample, its report, and a list of mined galaxies.
"""


rule sample:
    input:
        basis("sample"),
        SKY,
        LISTS,
        PATHS.lenses,
        # A chunk that is made again, perhaps because its files could be had at last, must not train
        # the network anew; whatever the basis lists must.
        ancient(PATHS.bricks),
        ancient(of_chunks(PATHS.parent)),
        ancient(manifests("cutouts")),
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
        "../scripts/sample.py"


rule sample_report:
    input:
        PATHS.sample,
        PATHS.records_manifest,
    output:
        PATHS.sample_report("report.json"),
        PATHS.sample_report("report.html"),
        report(
            expand(PATHS.sample_report("{figure}.png"), figure=["distributions", "sky"]),
            caption="../report/sample.rst",
            category="Sample",
        ),
    log:
        PATHS.log("sample_report"),
    benchmark:
        PATHS.benchmark("sample_report")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        settings=section("mosaics"),
    message:
        "Describing the labelled sample"
    script:
        "../scripts/sample_report.py"


rule mine:
    input:
        PATHS.sample,
        of_chunks(PATHS.scores),
        DISCARDED,
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
        number=SETTINGS.sample.mined,
    message:
        "Choosing galaxies for the eye"
    script:
        "../scripts/mine.py"
