"""Add up the audits of the cuts."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.catalog import merge_audits

    merge_audits(settings)
