"""Compare the search with the truth."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.evaluation import evaluate

    evaluate(settings)
