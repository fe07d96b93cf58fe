"""List the bricks of the footprint."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.footprint.select import write_bricks

    write_bricks(settings)
