"""Show what a model misclassifies."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.model import show_mistakes

    show_mistakes(settings.of_model(snakemake.wildcards.model))
