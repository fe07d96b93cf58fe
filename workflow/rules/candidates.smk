"""Candidates: what passes the threshold, merged, named, matched and ranked.

Needs: all scores and parent samples, and the known lenses. Gives: the candidates' catalogues.
"""


rule candidates:
    input:
        TARGETS,
        PATHS.bricks,
        PATHS.lenses,
        of_chunks(PATHS.scores),
        of_chunks(PATHS.parent),
        DISCARDED,
    output:
        report(
            PATHS.candidates.with_suffix(".csv"),
            caption="../report/candidates.rst",
            category="Candidates",
        ),
        fits=PATHS.candidates,
    log:
        PATHS.log("candidates"),
    benchmark:
        PATHS.benchmark("candidates")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        settings=section("candidates"),
        match_radius_arcsec=SETTINGS.sample.match_radius_arcsec,
        # The list links to the mosaics' pages.
        pages=[SETTINGS.mosaics.sort, SETTINGS.mosaics.per_page],
    message:
        "Choosing candidates above {params.settings[candidates][threshold]}"
    script:
        "../scripts/candidates.py"
