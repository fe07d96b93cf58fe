"""Compare the search with the truth."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.search import evaluate

    evaluate(settings)
