"""Score a chunk."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.inference import score_chunk

    score_chunk(settings, snakemake.wildcards.chunk)
