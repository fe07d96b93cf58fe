"""Write the area that was searched and draw it with the candidates."""

from lenspipe.cli.job import job

with job(snakemake) as settings:
    from lenspipe.candidates.skymap import write_sky_map

    write_sky_map(settings)
