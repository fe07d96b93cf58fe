"""TFRecords for scoring.

Needs: the chunks' cutouts, and a model. Gives: a file per chunk.
"""


rule records:
    input:
        PATHS.manifest("cutouts", "{chunk}"),
        # Not read: records are as large as the cutouts and are deleted once scored, so they wait
        # until there is a model to score them with.
        ancient(MODEL),
    output:
        PATHS.records("{chunk}") if SETTINGS.keep == "all" else temp(PATHS.records("{chunk}")),
    log:
        PATHS.log("records", "{chunk}"),
    benchmark:
        PATHS.benchmark("records", "{chunk}")
    # The nearer to deletion, the earlier: a chunk is scored before another one is cut.
    priority: 1
    resources:
        mem_mb=grows(2000),
        runtime=60,
    message:
        "Writing records of chunk {wildcards.chunk}"
    script:
        "../scripts/records.py"
