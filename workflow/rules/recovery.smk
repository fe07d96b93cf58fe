"""What the search made of published candidates.

Needs: scores, parent samples, manifests of all chunks, the labelled sample if the run has one, the
catalogues. Gives: a table with a row per entry, counts and a figure for each catalogue.
"""

from lenspipe.catalogs.versions import list_version
from lenspipe.utils.files import is_remote

PUBLISHED = [catalogue.path for catalogue in SETTINGS.recovery.catalogs]
# Of those in a package or at an address the parameters say which version is read.
ELSEWHERE = [path for path in PUBLISHED if path == "lenscat" or is_remote(path)]


rule recovery:
    input:
        SKY,
        # The lists of a simulated sky come with it.
        [
            path
            for path in PUBLISHED
            if path not in ELSEWHERE and PATHS.sky not in Path(path).parents
        ],
        PATHS.bricks,
        PATHS.sample if TRAINED else [],
        SETTINGS.recovery.sample or [],
        of_chunks(PATHS.scores),
        of_chunks(PATHS.parent),
        manifests("cutouts"),
    output:
        RECOVERED,
        report(
            [path.with_suffix(".csv") for path in RECOVERED],
            caption="../report/recovery.rst",
            category="Completeness",
        ),
        report(
            [path.with_suffix(".png") for path in RECOVERED],
            caption="../report/recovery.rst",
            category="Completeness",
        ),
    log:
        PATHS.log("recovery"),
    benchmark:
        PATHS.benchmark("recovery")
    resources:
        mem_mb=grows(2000),
        runtime=60,
        connections=CONNECTIONS,
    params:
        settings=section("recovery", "parent", "survey"),
        reject_flags=SETTINGS.candidates.reject_flags,
        versions=[list_version(path) for path in ELSEWHERE],
    message:
        "Looking for published candidates among the scores"
    script:
        "../scripts/recovery.py"
