"""Lenses painted onto galaxies that the network never learnt from, and how real they look.

Needs: the model, parent samples and cutouts of all chunks, known lenses, the labelled sample if the
run has one, scores, the candidates' cut. Gives: a table of painted lenses with their scores, and whether
they can be told from real ones; a figure of each.
"""

# All that lenses are painted from, and with what the search would find them.
PAINTED_FROM = [
    SKY,
    MODEL,
    CALIBRATION,
    PATHS.bricks,
    PATHS.lenses,
    [PATHS.sample, PATHS.splits] if TRAINED else [],
    # A number of galaxies, or a false-positive rate, is a cut only once the search is done.
    PATHS.threshold if SETTINGS.candidates.threshold.by != "probability" else [],
    of_chunks(PATHS.parent),
    manifests("cutouts"),
    DISCARDED,
]
PAINTED_WITH = section("injection", "inference") | {
    "seed": SETTINGS.seed,
    "threshold": SETTINGS.candidates.threshold.model_dump(mode="json"),
    "exclusion_arcsec": SETTINGS.sample.exclusion_arcsec,
}


rule paint:
    input:
        PAINTED_FROM,
        of_chunks(PATHS.scores),
    output:
        PATHS.selection("injected.parquet"),
        report(
            PATHS.selection("injected.png"),
            caption="../report/injected.rst",
            category="Completeness",
        ),
    log:
        PATHS.log("paint"),
    benchmark:
        PATHS.benchmark("paint")
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
        gpu=1,
    params:
        settings=PAINTED_WITH,
        number=SETTINGS.selection.number,
        theta_e_range=SETTINGS.selection.theta_e_range,
        source_mag_range=SETTINGS.selection.source_mag_range,
        lenses=SETTINGS.selection.lenses,
        reject_flags=SETTINGS.candidates.reject_flags,
        mosaics=section("mosaics"),
    message:
        "Painting lenses onto galaxies that training never saw"
    script:
        "../scripts/paint.py"


rule realism:
    input:
        PAINTED_FROM,
    output:
        PATHS.selection("realism.json"),
        report(
            PATHS.selection("realism.png"),
            caption="../report/realism.rst",
            category="Completeness",
        ),
    log:
        PATHS.log("realism"),
    benchmark:
        PATHS.benchmark("realism")
    resources:
        mem_mb=grows(4000),
        runtime=60,
        gpu=1,
    params:
        settings=PAINTED_WITH,
        grades=SETTINGS.sample.grades,
        match_radius_arcsec=SETTINGS.sample.match_radius_arcsec,
        stretch=SETTINGS.mosaics.stretch,
    message:
        "Comparing painted lenses with real ones"
    script:
        "../scripts/realism.py"
