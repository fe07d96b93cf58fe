"""Cutouts: stamps of the parent sample's galaxies, a file per brick.

Needs: a chunk's parent sample and the survey's coadds. Gives: the chunk's manifest, or one brick's
file where that is asked for by name.
"""


rule cutouts:
    input:
        *inputs("cutouts"),
    output:
        PATHS.manifest("cutouts", "{chunk}"),
    log:
        PATHS.log("cutouts", "{chunk}"),
    benchmark:
        PATHS.benchmark("cutouts", "{chunk}")
    resources:
        mem_mb=grows(2000),
        runtime=240,
        connections=CONNECTIONS,
    params:
        basis=made_from("cutouts"),
    message:
        "Cutting stamps in chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"


rule brick_cutouts:
    input:
        *inputs("brick_cutouts"),
    output:
        PATHS.cutouts("{brick}", folder="{folder}"),
    log:
        PATHS.log("brick_cutouts", "{folder}-{brick}"),
    benchmark:
        PATHS.benchmark("brick_cutouts", "{folder}-{brick}")
    resources:
        mem_mb=grows(2000),
        runtime=60,
        connections=CONNECTIONS,
    params:
        basis=made_from("brick_cutouts"),
    message:
        "Cutting stamps in brick {wildcards.brick}"
    script:
        "../scripts/stage.py"
