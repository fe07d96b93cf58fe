"""Draw one brick."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import brick_mosaic

    brick_mosaic(settings, snakemake.wildcards.brick)
