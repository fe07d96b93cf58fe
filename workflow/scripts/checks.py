"""Make the standing checks."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.checks.run import run_checks

    run_checks(settings)
