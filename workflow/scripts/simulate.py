"""Make the simulated sky."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.simulation.sky import simulate

    simulate(settings, workers=snakemake.threads)
