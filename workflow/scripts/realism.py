"""Compare injected lenses with real ones."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.completeness.realism import measure_realism

    measure_realism(settings)
