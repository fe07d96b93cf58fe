"""TFRecords for scoring.

Needs: the chunks' cutouts, and a model. Gives: a file per chunk.
"""


rule records:
    input:
        *inputs("records"),
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
    params:
        basis=made_from("records"),
    message:
        "Writing records of chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"
