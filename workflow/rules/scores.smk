"""Scores: what the network says of every galaxy.

Needs: the model, its calibration if it has one, and a chunk's records, or one brick's cutouts.
Gives: a table of scores.
"""


rule scores:
    input:
        *inputs("scores"),
    output:
        PATHS.scores("{chunk}"),
    log:
        PATHS.log("scores", "{chunk}"),
    benchmark:
        PATHS.benchmark("scores", "{chunk}")
    priority: 2
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
        gpu=1,
    message:
        "Scoring chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"


rule brick_scores:
    input:
        *inputs("brick_scores"),
    output:
        PATHS.brick_scores("{brick}"),
    log:
        PATHS.log("brick_scores", "{brick}"),
    benchmark:
        PATHS.benchmark("brick_scores", "{brick}")
    resources:
        mem_mb=grows(4000),
        runtime=30,
        gpu=1,
    message:
        "Scoring brick {wildcards.brick}"
    script:
        "../scripts/stage.py"
