"""Estimate completeness and purity of the candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.candidates.find import forecast

    forecast(settings)
