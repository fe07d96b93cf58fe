"""Score one brick."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.inference import score_brick

    score_brick(settings, snakemake.wildcards.brick)
