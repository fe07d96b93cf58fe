"""Assess a model."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.model import assess

    assess(settings.of_model(snakemake.wildcards.model))
