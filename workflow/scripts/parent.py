"""Select a chunk's parent sample."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.catalog import parent_of_chunk

    parent_of_chunk(settings, snakemake.wildcards.chunk)
