"""Known lenses: all catalogues, and what was graded by eye, as one table.

Needs: these lists, or that of the simulated sky. Gives: a table with a row per lens system.
"""

from lenspipe.catalogs.versions import list_version

# Versions of catalogues in packages; the content of local files counts, an address stands for itself.
VERSIONS = [
    list_version(catalogue.path)
    for catalogue in SETTINGS.sample.known_lenses
    if catalogue.path == "lenscat"
]


rule known:
    input:
        *inputs("known"),
    output:
        PATHS.lenses.with_suffix(".csv"),
        PATHS.lenses,
    log:
        PATHS.log("known"),
    benchmark:
        PATHS.benchmark("known")
    resources:
        mem_mb=grows(1000),
        runtime=60,
        connections=CONNECTIONS,
    params:
        # Of lists in a package or at an address this says which version is read.
        basis=made_from("known", versions=VERSIONS),
    message:
        "Merging the catalogues of known lenses"
    script:
        "../scripts/stage.py"
