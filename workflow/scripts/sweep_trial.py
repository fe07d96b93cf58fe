"""Train one of a sweep's models."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.tuning.trial import run_trial

    run_trial(settings, int(snakemake.wildcards.trial))
