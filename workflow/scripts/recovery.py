"""Look for published candidates among the scores."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.recovery.measure import recover

    recover(settings)
