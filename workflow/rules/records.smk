"""TFRecords: cutouts and labels as the network reads them.

Needs: the chunks' cutouts; for the labelled sample also the lists of known lenses and confusing
galaxies. Gives: a file per chunk for scoring, and the labelled sample with its table.
"""


rule records:
    input:
        PATHS.manifest("cutouts", "{chunk}"),
        # Not read: records are as large as the cutouts and are deleted once scored, so they wait
        # until there is a model to score them with.
        ancient(MODEL),
    output:
        temp(PATHS.records("{chunk}")),
    log:
        PATHS.log("records", "{chunk}"),
    benchmark:
        PATHS.benchmark("records", "{chunk}")
    resources:
        mem_mb=2000,
    message:
        "Writing records of chunk {wildcards.chunk}"
    script:
        "../scripts/records.py"


rule sample:
    input:
        basis("sample"),
        SKY,
        LISTS,
        # A chunk that is made again, perhaps because its files could be had at last, must not train
        # the network anew; whatever the basis lists must.
        ancient(PATHS.bricks),
        ancient(expand(PATHS.parent("{chunk}"), chunk=CHUNKS)),
        ancient(expand(PATHS.manifest("cutouts", "{chunk}"), chunk=CHUNKS)),
    output:
        PATHS.sample,
    log:
        PATHS.log("sample"),
    benchmark:
        PATHS.benchmark("sample")
    resources:
        mem_mb=4000,
    message:
        "Drawing the labelled sample"
    script:
        "../scripts/sample.py"
