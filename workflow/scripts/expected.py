"""Compare how many lenses were found with how many should be."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.expected.measure import expect_lenses

    expect_lenses(settings)
