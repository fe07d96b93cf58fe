"""Write a chunk's records."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.scoring.records import records_of_chunk

    records_of_chunk(settings, snakemake.wildcards.chunk)
