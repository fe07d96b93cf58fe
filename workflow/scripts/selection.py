"""Fit the selection function."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.selection.measure import measure_selection

    measure_selection(settings)
