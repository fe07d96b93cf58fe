"""Cut stamps in a chunk."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.cutouts.chunk import cut_chunk

    cut_chunk(settings, snakemake.wildcards.chunk)
