"""Describe the labelled sample."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.sample_report import report_sample

    report_sample(settings)
