"""Purity: how many random galaxies of the search pass, and what its candidates hold.

Needs: scores and parent samples of all chunks, the labelled sample and the scores of held-out
galaxies if the run has them, the candidates' cuts, the known lenses, the grades once they are
exported. Gives: false-positive rates with intervals, and what to expect, as tables and a figure.
"""


rule purity:
    input:
        SKY,
        PATHS.bricks,
        PATHS.lenses,
        PATHS.sample if TRAINED else [],
        SETTINGS.recovery.sample or [],
        PATHS.threshold,
        HELD_OUT,
        [path.with_name("calibration.json") for path in HELD_OUT if TRAINED],
        # People grade when they please, and no step makes the file.
        [path for path in [PATHS.inspection("grades.csv")] if path.exists()],
        of_chunks(PATHS.scores),
        of_chunks(PATHS.parent),
    output:
        PATHS.purity("purity.json"),
        report(
            PATHS.purity("purity.csv"),
            caption="../report/purity.rst",
            category="Purity",
        ),
        report(
            PATHS.purity("purity.png"),
            caption="../report/purity.rst",
            category="Purity",
        ),
    log:
        PATHS.log("purity"),
    benchmark:
        PATHS.benchmark("purity")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        radii=[SETTINGS.sample.exclusion_arcsec, SETTINGS.sample.match_radius_arcsec],
        prior=SETTINGS.evaluation.prior,
        reject_flags=SETTINGS.candidates.reject_flags,
    message:
        "Measuring how many random galaxies pass"
    script:
        "../scripts/purity.py"
