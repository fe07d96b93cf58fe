"""Compare how many lenses were found with how many should be."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.expected.numbers import expect_lenses

    expect_lenses(settings)
