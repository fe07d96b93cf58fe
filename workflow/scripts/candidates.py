"""Choose the candidates."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.candidates import find_candidates

    find_candidates(settings)
