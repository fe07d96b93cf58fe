"""Draw the labelled sample."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.sample import build_sample

    build_sample(settings)
