"""Inject lenses into galaxies of the search, and score them."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.painting import inject_and_score

    inject_and_score(settings)
