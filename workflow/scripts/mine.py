"""Choose galaxies for the eye."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.sample.mining import mine

    mine(settings)
