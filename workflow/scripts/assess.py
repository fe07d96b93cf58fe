"""Assess a model."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.assessment import assess

    assess(settings.of_model(snakemake.wildcards.model))
