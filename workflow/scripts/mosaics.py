"""Draw pages of candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import draw_candidate_pages

    draw_candidate_pages(settings)
