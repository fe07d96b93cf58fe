"""TFRecords: cutouts and labels as the network reads them.

Needs: the chunks' cutouts; for the labelled sample also the lists of known lenses and confusing
galaxies. Gives: a file per chunk for scoring, and the labelled sample with its table.
"""


rule records:
    input:
        PATHS.manifest("cutouts", "{chunk}"),
        # Not read: records are as large as the cutouts and are deleted once scored, so they wait
        # until there is a model to score them with.
        ancient(PATHS.model(SETTINGS.training.name)),
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
        [path for path in (SETTINGS.sample.known_lenses, SETTINGS.sample.confusing) if path],
        PATHS.bricks,
        expand(PATHS.parent("{chunk}"), chunk=CHUNKS),
        expand(PATHS.manifest("cutouts", "{chunk}"), chunk=CHUNKS),
    output:
        PATHS.sample,
    log:
        PATHS.log("sample"),
    benchmark:
        PATHS.benchmark("sample")
    resources:
        mem_mb=4000,
    params:
        settings=section("sample") | {"seed": SETTINGS.seed},
    message:
        "Drawing the labelled sample"
    script:
        "../scripts/sample.py"
