"""Delete the cutouts of a chunk that is scored."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.cutouts import discard_chunk

    discard_chunk(settings, snakemake.wildcards.chunk)
