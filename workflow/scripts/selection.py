"""Fit the selection function."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.measure import measure_selection_function

    measure_selection_function(settings)
