"""List the bricks of the footprint."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.bricks import write_bricks

    write_bricks(settings)
