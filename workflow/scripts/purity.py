"""Measure how many random galaxies of the search pass."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.evaluation.purity.measure import measure_purity

    measure_purity(settings)
