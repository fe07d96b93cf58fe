"""Scores: what the network says of every galaxy.

Needs: the model and a chunk's records, or one brick's cutouts. Gives: a table of scores.
"""


rule scores:
    input:
        basis("scores"),
        records=PATHS.records("{chunk}"),
        model=MODEL,
    output:
        PATHS.scores("{chunk}"),
    log:
        PATHS.log("scores", "{chunk}"),
    benchmark:
        PATHS.benchmark("scores", "{chunk}")
    resources:
        mem_mb=4000,
        gpu=1,
    message:
        "Scoring chunk {wildcards.chunk}"
    script:
        "../scripts/scores.py"


rule brick_scores:
    input:
        basis("scores"),
        cutouts=brick_path(PATHS.cutouts),
        model=MODEL,
    output:
        PATHS.brick_scores("{brick}"),
    log:
        PATHS.log("brick_scores", "{brick}"),
    benchmark:
        PATHS.benchmark("brick_scores", "{brick}")
    resources:
        mem_mb=4000,
        gpu=1,
    message:
        "Scoring brick {wildcards.brick}"
    script:
        "../scripts/brick_scores.py"
