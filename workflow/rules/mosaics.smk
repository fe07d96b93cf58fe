"""Mosaics for visual inspection.

Needs: candidates or scores, and the cutouts' manifests. Gives: ranked pages of candidates, a page
for each brick of a chunk, or one brick's page where that is asked for by name.
"""

import sys

from lenspipe.products.files import read_json


def pages_of_report():
    """The pages of candidates that are there, in a report; to make them the first stands for all.

    Their number is known only afterwards, and those that are up to date are kept, whereas Snakemake
    would delete declared outputs.
    """
    if "--report" not in sys.argv or not PATHS.mosaic_index.exists():
        return [PATHS.mosaic_page(1)]
    pages = read_json(PATHS.mosaic_index, "mosaic_index")["pages"]
    return [PATHS.mosaic_index.with_name(page) for page in pages]


PAGES = pages_of_report()


rule mosaics:
    input:
        *inputs("mosaics"),
    output:
        PATHS.mosaic_index,
        [shown("mosaic", path, path.stem.removeprefix("page-")) for path in PAGES],
    log:
        PATHS.log("mosaics"),
    benchmark:
        PATHS.benchmark("mosaics")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("mosaics"),
    message:
        "Drawing pages of candidates"
    script:
        "../scripts/stage.py"


rule chunk_mosaics:
    input:
        *inputs("chunk_mosaics"),
    output:
        PATHS.manifest("mosaics", "{chunk}"),
    log:
        PATHS.log("chunk_mosaics", "{chunk}"),
    benchmark:
        PATHS.benchmark("chunk_mosaics", "{chunk}")
    priority: 3
    resources:
        mem_mb=grows(2000),
        runtime=60,
    message:
        "Drawing each brick of chunk {wildcards.chunk}"
    script:
        "../scripts/stage.py"


def folder_of_deleted_cutouts(wildcards):
    """Input function: nothing, or a folder that is newer than a mosaic whose cutouts are gone.

    Snakemake does not look for a missing input of a file that is there. Deleting the cutouts has
    changed their folder, and so the brick is made whole when its mosaic is asked for.
    """
    cutouts = PATHS.cutouts(wildcards.brick)
    if cutouts.exists():
        return []
    return next(folder for folder in cutouts.parents if folder.exists())


rule brick_mosaic:
    input:
        *inputs("brick_mosaic"),
        folder_of_deleted_cutouts,
    output:
        PATHS.brick_mosaic("{brick}"),
    log:
        PATHS.log("brick_mosaic", "{brick}"),
    benchmark:
        PATHS.benchmark("brick_mosaic", "{brick}")
    resources:
        mem_mb=grows(2000),
        runtime=30,
    message:
        "Drawing brick {wildcards.brick}"
    script:
        "../scripts/stage.py"
