"""Note the files of all chunks."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.products.provenance import write_chunks

    write_chunks(settings)
