"""Score a chunk."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.scoring.score import score_chunk

    score_chunk(settings, snakemake.wildcards.chunk)
