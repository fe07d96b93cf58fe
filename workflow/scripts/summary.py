"""Sum up the run."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.status.page import write_status_page
    from lenspipe.status.summary import summarise

    summarise(settings)
    write_status_page(settings, settings.paths.status_page)
