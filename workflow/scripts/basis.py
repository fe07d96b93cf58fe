"""Write what a step is made from."""

from lenspipe.progress import job

with job(snakemake):
    from lenspipe.basis import write_basis

    write_basis(snakemake.output[0], snakemake.params.settings, snakemake.input)
