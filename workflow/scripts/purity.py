"""Measure how many random galaxies of the search pass."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.purity.measure import measure_purity

    measure_purity(settings)
