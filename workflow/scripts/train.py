"""Train a network."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.training import train

    train(settings.of_model(snakemake.wildcards.model))
