"""Look for published candidates among the scores."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.recovery.comparison import measure_recovery

    measure_recovery(settings)
