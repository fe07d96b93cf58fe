"""Candidates: what passes the threshold, merged, named, matched and ranked.

Needs: all scores and parent samples, the known lenses, and the scores of held-out galaxies where
there are some. Gives: the candidates' catalogues, what to expect of them, and a map of the sky.
"""

from lenspipe.utils.files import is_remote

# Of a given model they are read if somebody put them beside it.
HELD_OUT = [path for path in [SETTINGS.predictions] if TRAINED or (path.exists() and not TARGETS)]
FORMATS = [".fits", ".vot", ".reg", ".html"]


rule candidates:
    input:
        TARGETS,
        PATHS.bricks,
        PATHS.lenses,
        [path for path in SETTINGS.candidates.redshifts if not is_remote(path)],
        HELD_OUT,
        of_chunks(PATHS.scores),
        of_chunks(PATHS.parent),
        DISCARDED,
    output:
        report(
            PATHS.candidates.with_suffix(".csv"),
            caption="../report/candidates.rst",
            category="Candidates",
        ),
        report(
            PATHS.threshold,
            caption="../report/cut.rst",
            category="Candidates",
        ),
        PATHS.candidate_file("viewer.fits"),
        [PATHS.candidates.with_suffix(suffix) for suffix in FORMATS],
    log:
        PATHS.log("candidates"),
    benchmark:
        PATHS.benchmark("candidates")
    resources:
        mem_mb=grows(2000),
        runtime=60,
        connections=CONNECTIONS,
    params:
        settings=section("candidates"),
        match_radius_arcsec=SETTINGS.sample.match_radius_arcsec,
        prior=SETTINGS.evaluation.prior,
        # The list links to the mosaics' pages.
        pages=[SETTINGS.mosaics.sort, SETTINGS.mosaics.per_page],
    message:
        "Choosing candidates"
    script:
        "../scripts/candidates.py"


rule sky_map:
    input:
        PATHS.bricks,
        PATHS.candidates,
        manifests("cutouts"),
    output:
        report(
            PATHS.candidate_file("sky.png"),
            caption="../report/sky.rst",
            category="Candidates",
        ),
        PATHS.candidate_file("searched.fits"),
        PATHS.candidate_file("searched.json"),
    log:
        PATHS.log("sky_map"),
    benchmark:
        PATHS.benchmark("sky_map")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    message:
        "Drawing the sky that was searched"
    script:
        "../scripts/sky_map.py"
