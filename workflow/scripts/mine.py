"""Choose galaxies for the eye."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.mining import mine

    mine(settings)
