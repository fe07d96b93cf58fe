"""Candidates: what passes the threshold, merged, named, matched and ranked.

Needs: all scores and parent samples, the known lenses, and the scores of held-out galaxies where
there are some. Gives: the candidates' catalogues, their expected completeness and purity, and a map
of the sky.
"""

FORMATS = [".fits", ".vot", ".reg"]


rule candidates:
    input:
        *inputs("candidates"),
    output:
        shown("candidates", PATHS.candidates.with_suffix(".csv")),
        PATHS.cuts,
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
        basis=made_from("candidates"),
    message:
        "Choosing candidates"
    script:
        "../scripts/stage.py"


rule forecast:
    input:
        *inputs("forecast"),
    output:
        shown("cut", PATHS.threshold),
    log:
        PATHS.log("forecast"),
    benchmark:
        PATHS.benchmark("forecast")
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        basis=made_from("forecast"),
    message:
        "Estimating completeness and purity of the candidates"
    script:
        "../scripts/stage.py"


rule sky_map:
    input:
        *inputs("sky_map"),
    output:
        shown("sky", PATHS.candidate_file("sky.png")),
        PATHS.candidate_file("searched.fits"),
        PATHS.candidate_file("searched.json"),
    log:
        PATHS.log("sky_map"),
    benchmark:
        PATHS.benchmark("sky_map")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    params:
        basis=made_from("sky_map"),
    message:
        "Drawing the sky that was searched"
    script:
        "../scripts/stage.py"
