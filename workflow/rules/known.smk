"""Known lenses: all catalogues, and what was graded by eye, as one table.

Needs: these lists, or that of the simulated sky. Gives: a table with a row per lens system.
"""

from lenspipe.catalogs.versions import list_version
from lenspipe.utils.files import is_remote

CATALOGUES = [catalogue.path for catalogue in SETTINGS.sample.known_lenses]
# Of the other lists, in a package or at an address, the parameters say which version is read.
KNOWN = [
    path
    for path in (*CATALOGUES, *SETTINGS.sample.graded)
    if path != "lenscat" and not is_remote(path)
]


rule known:
    input:
        SKY,
        KNOWN,
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
        settings=SETTINGS.sample.model_dump(
            mode="json", include={"known_lenses", "graded", "merge_radius_arcsec"}
        ),
        versions=[list_version(path) for path in CATALOGUES if path not in KNOWN],
    message:
        "Merging the catalogues of known lenses"
    script:
        "../scripts/known.py"
