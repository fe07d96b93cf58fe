"""Recovery: which entries of a published catalogue a search scored and passed, why not the rest.

Nothing heavy is imported here: the command line reads `lenspipe.recovery.command` at every start.
"""
