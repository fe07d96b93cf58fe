"""Sum up the run."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.summary import summarise

    summarise(settings)
