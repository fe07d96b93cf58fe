"""Cut stamps in one brick."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.cutouts import cut_one

    cut_one(settings, snakemake.wildcards.brick)
