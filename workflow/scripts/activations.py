"""Draw a model at work."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.activations import show_activations

    show_activations(settings.of_model(snakemake.wildcards.model))
