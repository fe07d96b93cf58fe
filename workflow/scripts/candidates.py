"""Choose the candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.candidates.find import find_candidates

    find_candidates(settings)
