"""Paint lenses onto galaxies of the search, and score them."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.selection.painting import paint

    paint(settings)
