"""Train a network."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.training.fitting import train

    train(settings.of_model(snakemake.wildcards.model))
