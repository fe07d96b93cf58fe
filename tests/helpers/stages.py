"""How stages follow each other."""

from lenspipe.config.stages import STAGE_FILES, STAGES


def upstream(name: str) -> set[str]:
    """Names of the stages that make a stage's inputs, directly or indirectly."""
    result: set[str] = set()
    pending = [*STAGES[name].inputs, *STAGES[name].waits_for]
    while pending:
        files = pending.pop()
        pending += STAGE_FILES[files].covers
        for maker, stage in STAGES.items():
            if files in stage.outputs and maker not in result:
                result.add(maker)
                pending += [*stage.inputs, *stage.waits_for]
    return result
