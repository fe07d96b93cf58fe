"""Helpers of the other rules: what a rule's parameters are, so that a change re-runs it."""


def chunk_of(wildcards):
    """Name of the chunk that a brick lies in."""
    for chunk, bricks in PLAN.items():
        if any(entry["brick"] == wildcards.brick for entry in bricks):
            return chunk
    raise WorkflowError(
        f"brick {wildcards.brick}: not in this run's footprint; results/{SETTINGS.run}/bricks.parquet "
        "lists its bricks, and the footprint section of the configuration chooses them"
    )


def of_chunk(path):
    """Input function: a chunk's file for a brick's job."""
    return lambda wildcards: path(chunk_of(wildcards))


def section(*names):
    """Parameters of a rule: the sections of the configuration that change what it makes."""
    return {name: getattr(SETTINGS, name).model_dump(mode="json") for name in names}
