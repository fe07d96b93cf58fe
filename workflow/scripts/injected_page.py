"""Draw a page of injected lenses."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.painting import show_injected

    show_injected(settings)
