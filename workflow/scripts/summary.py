"""Sum up the run."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.status_page import write_status_page
    from lenspipe.summary import summarise

    summarise(settings)
    write_status_page(settings, settings.paths.status_page)
