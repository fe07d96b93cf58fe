"""Add up the audits of the cuts."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.parent.select import merge_audits

    merge_audits(settings)
