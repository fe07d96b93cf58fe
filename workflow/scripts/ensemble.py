"""Combine the networks."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.ensemble import combine

    combine(settings)
