"""What the search made of published candidates.

Needs: scores, parent samples, manifests of all chunks, the labelled sample if the run has one, the
catalogues. Gives: a table with a row per entry, counts and a figure for each catalogue.
"""

from lenspipe.catalogs.versions import list_version

# Versions of catalogues in packages; the content of local files counts, an address stands for itself.
PUBLISHED_VERSIONS = [
    list_version(catalogue.path)
    for catalogue in SETTINGS.recovery.catalogs
    if catalogue.path == "lenscat"
]

RECOVERED = STAGE_FILES["recovery"].paths(SETTINGS)


rule recovery:
    input:
        *inputs("recovery"),
    output:
        RECOVERED,
        [shown("recovery_table", path.with_suffix(".csv"), path.stem) for path in RECOVERED],
        [shown("recovery", path.with_suffix(".png"), path.stem) for path in RECOVERED],
    log:
        PATHS.log("recovery"),
    benchmark:
        PATHS.benchmark("recovery")
    resources:
        mem_mb=grows(2000),
        runtime=60,
        connections=CONNECTIONS,
    params:
        basis=made_from("recovery", versions=PUBLISHED_VERSIONS),
    message:
        "Looking for published candidates among the scores"
    script:
        "../scripts/stage.py"
