"""How well the model does on simulated stamps without bricks.

Needs: the model and its calibration. Gives: its performance on them.
"""


rule stamps:
    input:
        *inputs("stamps"),
    output:
        PATHS.evaluation("stamps.json"),
    log:
        PATHS.log("stamps"),
    benchmark:
        PATHS.benchmark("stamps")
    threads: CORES
    resources:
        mem_mb=grows(2500),
        runtime=60,
    params:
        basis=made_from("stamps"),
    message:
        "Judging the model on simulated stamps"
    script:
        "../scripts/stage.py"
