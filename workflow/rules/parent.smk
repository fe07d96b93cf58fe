"""The parent sample: which galaxies to look at.

Needs: the survey's catalogues, or a list of targets. Gives: a table and an audit of the cuts for
each chunk, and the audit of the whole search.
"""


rule parent:
    input:
        *inputs("parent"),
    output:
        table=PATHS.parent("{chunk}"),
        audit=PATHS.parent_audit("{chunk}"),
    log:
        PATHS.log("parent", "{chunk}"),
    benchmark:
        PATHS.benchmark("parent", "{chunk}")
    resources:
        mem_mb=grows(2000),
        runtime=120,
        connections=CONNECTIONS,
    params:
        basis=made_from("parent"),
        bricks=lambda wildcards: PLAN.digest(wildcards.chunk),
    message:
        "Selecting galaxies in chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"


rule audit:
    input:
        *inputs("audit"),
    output:
        shown("audit", PATHS.audit),
    log:
        PATHS.log("audit"),
    benchmark:
        PATHS.benchmark("audit")
    resources:
        mem_mb=grows(500),
        runtime=30,
    params:
        basis=made_from("audit"),
    message:
        "Adding up what each cut removed"
    script:
        "../scripts/stage.py"
