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
        report(
            PATHS.candidates.with_suffix(".csv"),
            caption="../report/candidates.rst",
            category="Candidates",
        ),
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
        report(
            PATHS.threshold,
            caption="../report/cut.rst",
            category="Candidates",
        ),
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


rule candidate_list:
    input:
        *inputs("candidate_list"),
    output:
        PATHS.candidate_file("candidates.html"),
    log:
        PATHS.log("candidate_list"),
    benchmark:
        PATHS.benchmark("candidate_list")
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        basis=made_from("candidate_list"),
    message:
        "Listing the candidates"
    script:
        "../scripts/stage.py"


rule sky_map:
    input:
        *inputs("sky_map"),
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
    params:
        basis=made_from("sky_map"),
    message:
        "Drawing the sky that was searched"
    script:
        "../scripts/stage.py"
