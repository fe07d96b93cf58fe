"""Train one of a sweep's models."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.training.sweep.trial import run_trial

    run_trial(settings, int(snakemake.wildcards.trial))
