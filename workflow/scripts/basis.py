"""Write what a step is made from."""

from lenspipe.cli.job import job

with job(snakemake):
    from lenspipe.products.provenance import write_basis

    write_basis(snakemake.output[0], snakemake.params.settings, snakemake.input)
