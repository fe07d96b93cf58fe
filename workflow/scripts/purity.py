"""Measure how many random galaxies of the search pass."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.purity.random_rates import measure_purity

    measure_purity(settings)
