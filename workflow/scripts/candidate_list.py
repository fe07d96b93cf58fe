"""List the candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.candidates.find import list_candidates

    list_candidates(settings)
