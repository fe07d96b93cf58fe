"""Delete the cutouts of a chunk that is scored."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.cutouts.chunk import discard_chunk

    discard_chunk(settings, snakemake.wildcards.chunk)
