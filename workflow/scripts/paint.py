"""Paint lenses onto galaxies of the search, and score them."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.painting import paint

    paint(settings)
