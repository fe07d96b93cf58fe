"""Draw each brick of a chunk."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import brick_mosaics_of_chunk

    brick_mosaics_of_chunk(settings, snakemake.wildcards.chunk)
