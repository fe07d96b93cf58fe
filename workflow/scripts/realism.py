"""Compare painted lenses with real ones."""

from lenspipe.progress import job

with job(snakemake) as settings:
    from lenspipe.selection.realism import measure_realism

    measure_realism(settings)
