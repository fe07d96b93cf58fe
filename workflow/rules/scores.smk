"""Scores: what the network says of every galaxy.

Needs: the model, its calibration if it has one, and a chunk's records, or one brick's cutouts.
Gives: a table of scores.
"""

from pathlib import Path

# Assessing the run's model makes it; beside a given model it may be or not. Snakemake looks at its
# content: assessed again with the same outcome, nothing is scored again.
CALIBRATION = Path(MODEL).with_name("calibration.json")
if SETTINGS.inference.model and not CALIBRATION.is_file():
    CALIBRATION = []


rule scores:
    input:
        basis("scores"),
        CALIBRATION,
        records=PATHS.records("{chunk}"),
        model=MODEL,
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
        "../scripts/scores.py"


rule brick_scores:
    input:
        basis("scores"),
        CALIBRATION,
        cutouts=brick_path(PATHS.cutouts),
        model=MODEL,
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
        "../scripts/brick_scores.py"
