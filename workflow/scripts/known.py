"""Merge the catalogues of known lenses."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.catalogs.known_lenses import merge_known

    merge_known(settings)
