"""Where the survey's files come from.

Needs: the configuration. Gives: the simulated sky's manifest (its last file) or nothing for real
data, and the table of bricks.
"""

# What a search of the simulated sky waits for; real data are there already.
SKY = [PATHS.sky_manifest] if SETTINGS.simulation else []
# What the choice of galaxies waits for; sweeps and queries look up in the table where bricks are.
PLACES = [PATHS.bricks] if SETTINGS.survey.catalogs != "tractor" and not TARGETS else []


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
        settings=(
            section("simulation", "footprint") | {"seed": SETTINGS.seed}
            if SETTINGS.simulation
            else {}
        ),
        # Where a file chooses the bricks the settings do not say which they are.
        bricks=(
            sorted(entry["brick"] for bricks in PLAN.values() for entry in bricks)
            if SETTINGS.simulation
            and (SETTINGS.targets or SETTINGS.footprint.known_lenses or SETTINGS.footprint.files)
            else []
        ),
    message:
        "Simulating a sky of {params.settings[footprint]}"
    script:
        "../scripts/simulate.py"


rule bricks:
    input:
        SKY,
        TARGETS,
        PATHS.plan,
    output:
        PATHS.bricks,
    log:
        PATHS.log("bricks"),
    benchmark:
        PATHS.benchmark("bricks")
    resources:
        mem_mb=grows(1000),
        runtime=30,
    message:
        "Listing the bricks of the footprint"
    script:
        "../scripts/bricks.py"
