"""A search over settings of the training: many trainings, and which was the best.

Nothing heavy is imported here: Snakemake reads `lenspipe.tuning.plan` with the Snakefile.
"""
