"""Select a chunk's parent sample."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.parent.select import parent_of_chunk

    parent_of_chunk(settings, snakemake.wildcards.chunk)
