"""Where the survey's files come from.

Needs: the configuration. Gives: the simulated sky's manifest (its last file) or nothing for real
data, and the table of bricks.
"""

# Where a file, or a list of known lenses, chooses the bricks, the settings do not say which they are.
BRICKS_CHOSEN = (
    sorted(entry["brick"] for bricks in PLAN.values() for entry in bricks)
    if SETTINGS.simulation
    and (SETTINGS.targets or SETTINGS.footprint.known_lenses or SETTINGS.footprint.files)
    else []
)


rule simulate:
    output:
        PATHS.sky_manifest,
    log:
        PATHS.log("simulate"),
    benchmark:
        PATHS.benchmark("simulate")
    threads: CORES
    resources:
        mem_mb=grows(4000),
        runtime=120,
    params:
        basis=made_from("simulate", bricks=BRICKS_CHOSEN),
    message:
        "Simulating a sky of {params.basis[footprint]}"
    script:
        "../scripts/simulate.py"


rule bricks:
    input:
        *inputs("bricks"),
    output:
        PATHS.bricks,
    log:
        PATHS.log("bricks"),
    benchmark:
        PATHS.benchmark("bricks")
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        basis=made_from("bricks"),
    message:
        "Listing the bricks of the footprint"
    script:
        "../scripts/stage.py"
