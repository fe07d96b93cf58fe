"""Compare the trials of a sweep."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.training.sweep.summary import summarise_sweep

    summarise_sweep(settings)
