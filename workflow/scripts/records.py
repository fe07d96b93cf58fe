"""Write a chunk's records."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.records import records_of_chunk

    records_of_chunk(settings, snakemake.wildcards.chunk)
