"""Helpers of the other rules: what a rule's parameters are, so that a change re-runs it."""

from lenspipe.config import digest

# What a job opens to servers; `--resources connections=8` limits the sum over all jobs.
CONNECTIONS = SETTINGS.retrieval.connections if SETTINGS.asks_servers else 0


def brick_path(path):
    """Input function: a brick's file, if the brick is in the footprint."""

    def find(wildcards):
        known = {entry["brick"] for bricks in PLAN.values() for entry in bricks}
        if wildcards.brick not in known:
            raise WorkflowError(
                f"brick {wildcards.brick}: not in this run's footprint; {PATHS.bricks} lists its "
                "bricks, and the footprint section of the configuration chooses them"
            )
        return path(wildcards.brick)

    return find


def section(*names):
    """Parameters of a rule: the sections of the configuration that change what it makes."""
    return {name: getattr(SETTINGS, name).model_dump(mode="json") for name in names}
