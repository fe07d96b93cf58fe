"""All chunks of the search as one file.

Needs: the parent sample, manifest of cutouts and scores of each chunk; with `keep: scores` the
manifest of what was deleted. Gives: hashes of them. What comes after the search has this file among
its inputs in place of several of each chunk; a chunk made again changes it only if its files differ.
"""


rule chunks:
    input:
        *inputs("chunks"),
    output:
        PATHS.chunks,
    log:
        PATHS.log("chunks"),
    benchmark:
        PATHS.benchmark("chunks")
    resources:
        mem_mb=grows(500),
        runtime=60,
    params:
        basis=made_from("chunks"),
    message:
        "Noting the files of all chunks"
    script:
        "../scripts/stage.py"
