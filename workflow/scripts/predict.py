"""Score held-out galaxies with a model."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.model import predict

    predict(settings.of_model(snakemake.wildcards.model))
