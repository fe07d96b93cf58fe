"""Draw pages of candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import candidate_pages

    candidate_pages(settings)
