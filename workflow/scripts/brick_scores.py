"""Score one brick."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.scoring.score import score_brick

    score_brick(settings, snakemake.wildcards.brick)
