"""Helpers of the other rules: inputs, resources and parameters that many of them have."""

# What a job opens to servers; `--resources connections=8` limits the sum over all jobs.
CONNECTIONS = SETTINGS.retrieval.connections if SETTINGS.asks_servers else 0


def brick_path(path):
    """Input function: a brick's file, if the brick is in the footprint."""

    def find(wildcards):
        if PLAN.find(wildcards.brick) is None:
            raise WorkflowError(
                f"brick {wildcards.brick}: not in this run's footprint; {PATHS.bricks} lists its "
                "bricks, and the footprint section of the configuration chooses them"
            )
        return path(wildcards.brick)

    return find


def of_chunks(path):
    """Input function: a file of each chunk.

    A list would be checked name by name whenever the Snakefile is read, which each job of a cluster
    does; this one is made where a rule that needs all chunks runs.
    """
    pattern = str(path("{chunk}"))
    return lambda wildcards: [pattern.format(chunk=chunk) for chunk in CHUNKS]


def manifests(stage):
    """Input function: the manifest of each chunk."""
    return of_chunks(lambda chunk: PATHS.manifest(stage, chunk))


# What waits until the cutouts of scored chunks have been deleted: what comes after looks at some of
# them again, and these stay.
DISCARDED = manifests("discard") if SETTINGS.keep == "scores" else []


def grows(amount):
    """Resource that doubles with each attempt: `retries` of a profile submit a failed job again."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)


def section(*names):
    """Parameters of a rule: the sections of the configuration that change what it makes."""
    return {name: getattr(SETTINGS, name).model_dump(mode="json") for name in names}
