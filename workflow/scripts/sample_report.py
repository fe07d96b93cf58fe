"""Describe the labelled sample."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.sample.report import report_sample

    report_sample(settings)
