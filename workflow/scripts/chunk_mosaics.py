"""Draw each brick of a chunk."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.mosaics.pages import draw_chunk_mosaics

    draw_chunk_mosaics(settings, snakemake.wildcards.chunk)
