"""Draw the labelled sample."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.sample.build import build_sample

    build_sample(settings)
