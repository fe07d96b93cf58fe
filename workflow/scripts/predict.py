"""Score held-out galaxies with a model."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.model import predict_held_out

    predict_held_out(settings.of_model(snakemake.wildcards.model))
