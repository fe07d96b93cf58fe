"""Run the rule's stage: `lenspipe.config.stages` names its function."""

from lenspipe.cli.job import job, run_stage

with job(snakemake) as settings:
    run_stage(snakemake.rule, settings, dict(snakemake.wildcards.items()))
