"""Merge the catalogues of known lenses."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.known import merge_known

    merge_known(settings)
