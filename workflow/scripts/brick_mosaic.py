"""Draw one brick."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import draw_brick_mosaic

    draw_brick_mosaic(settings, snakemake.wildcards.brick)
