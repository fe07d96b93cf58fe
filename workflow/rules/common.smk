"""What rules have in common: inputs and parameters from the table of stages, resources."""

import functools

from lenspipe.config.stages import STAGE_FILES, STAGES
from lenspipe.config.stages import stage_parameters
from lenspipe.products.provenance import content_hashes
from lenspipe.runs.figures import figures

# What a job opens to servers; `--resources connections=8` limits the sum over all jobs.
CONNECTIONS = SETTINGS.retrieval.connections if SETTINGS.asks_servers else 0
# What the user gives is `ancient` as an input; hashes of it are among the parameters.
GIVEN = {name for name, files in STAGE_FILES.items() if files.given}
if not SETTINGS.trains:
    GIVEN |= {"search_model", "calibration", "predictions"}


def shown(key, path, of="", subcategory=None):
    """An output in the report, with the title, category and caption of the table of figures."""
    figure = figures()[key]
    return report(
        path,
        caption=str(figure.caption_path),
        category=figure.category,
        subcategory=subcategory,
        labels={"result": f"{figure.title} {of}".rstrip()},
    )


def of_brick(files):
    """Input function: a brick's file, if the brick is in the footprint."""

    def find(wildcards):
        if PLAN.find(wildcards.brick) is None:
            raise WorkflowError(
                f"brick {wildcards.brick}: not in this run's footprint; {PATHS.bricks} lists its "
                "bricks, and the footprint section of the configuration chooses them"
            )
        return files.paths(SETTINGS, wildcards.brick)

    return find


def of_chunks(files):
    """Input function: the files of all chunks; nothing where the run has none.

    A list would be checked name by name whenever the Snakefile is read, which each job of a cluster
    does; this one is made where a rule that needs all chunks runs.
    """
    patterns = [str(path) for path in files.paths(SETTINGS, "{chunk}")]
    if not patterns:
        return []
    return lambda wildcards: [p.format(chunk=chunk) for p in patterns for chunk in CHUNKS]


def files_of(name, per):
    """Files of that name in the table, as inputs of a stage that runs once for each of `per`."""
    files = STAGE_FILES[name]
    if files.per == "run":
        return files.paths(SETTINGS)
    if name == "network":
        # Only some models have a user-defined network.
        return lambda wildcards: files.paths(SETTINGS, wildcards.model)
    if files.per == "brick":
        return of_brick(files)
    if files.per == per:
        return files.paths(SETTINGS, f"{{{per}}}")
    return of_chunks(files)


def inputs(rule):
    """Inputs of a rule as in the table of stages; `ancient` those whose time makes no difference."""
    stage = STAGES[rule]
    timed = [name for name in stage.inputs if name not in GIVEN]
    untimed = [*(name for name in stage.inputs if name in GIVEN), *stage.waits_for]
    noted = [basis(rule)] if stage.noted and stage.per != "trial" and rule != "train" else []
    files = [files_of(name, stage.per) for name in timed]
    return [
        *noted,
        *files,
        *(ancient(each) for name in untimed if (each := files_of(name, stage.per))),
    ]


def made_from(rule, **more):
    """Parameters of a rule: what its outputs depend on besides the files that stages make.

    They are computed once, when a job first needs them, and shared by all jobs of the rule.
    """
    once = functools.cache(lambda: parameters(rule, SETTINGS, **more))
    return lambda wildcards: once()


def parameters(stage, settings, **more):
    """Parameters of a stage, with hashes of the files that it reads and the user gives."""
    names = [name for name in STAGES[stage].inputs if name in GIVEN]
    model = [settings.training.name] if STAGES[stage].per == "model" else []
    files = [
        path
        for name in names
        for path in STAGE_FILES[name].paths(settings, *(model if name == "network" else []))
    ]
    return stage_parameters(stage, settings, **content_hashes(files, PATHS.given_hashes), **more)


def basis(step):
    """File of what a step is made from; rule `basis` writes it."""
    return PATHS.root / "basis" / f"{step}.json"


def grows(amount):
    """Resource that doubles with each attempt: `retries` of a profile submit a failed job again."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)
