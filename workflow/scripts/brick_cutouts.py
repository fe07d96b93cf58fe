"""Cut stamps in one brick."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.cutouts.chunk import cut_one

    cut_one(settings, snakemake.wildcards.brick)
