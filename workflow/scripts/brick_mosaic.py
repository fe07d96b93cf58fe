"""Draw one brick."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.mosaics import brick_mosaic

    brick_mosaic(settings, snakemake.wildcards.brick)
