"""Compare the trials of a sweep."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.tuning.summary import summarise_sweep

    summarise_sweep(settings)
