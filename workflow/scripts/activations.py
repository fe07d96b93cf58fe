"""Draw a model at work."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.activations import show_activations

    show_activations(settings.of_model(snakemake.wildcards.model))
