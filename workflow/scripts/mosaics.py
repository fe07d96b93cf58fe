"""Draw pages of candidates."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.mosaics import candidate_pages

    candidate_pages(settings)
