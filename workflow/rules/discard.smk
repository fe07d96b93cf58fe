"""Deleting cutouts once scored, with `keep: scores`.

Needs: a chunk's scores and, where each brick has a mosaic, these. Gives: a manifest of what was
deleted.
"""


rule discard:
    input:
        *inputs("discard"),
    output:
        PATHS.manifest("discard", "{chunk}"),
    log:
        PATHS.log("discard", "{chunk}"),
    # Before anything else, so that there is room.
    priority: 4
    resources:
        mem_mb=grows(500),
        runtime=30,
    message:
        "Deleting the cutouts of chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"
