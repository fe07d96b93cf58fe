"""Cut stamps in a chunk."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.cutouts import cut_chunk

    cut_chunk(settings, snakemake.wildcards.chunk)
