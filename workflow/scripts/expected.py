"""Compare the number of lenses found with the expected number."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.expected.numbers import expect_lenses

    expect_lenses(settings)
