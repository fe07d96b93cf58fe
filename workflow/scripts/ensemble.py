"""Combine the networks."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.training.ensemble import combine

    combine(settings)
