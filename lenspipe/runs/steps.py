"""What to do next with a run that has ended.

The Snakefile imports this module, so it imports nothing heavy.
"""

import shlex
from typing import NamedTuple

from lenspipe.config.settings import Settings

__all__ = ["Step", "describe_end", "next_steps"]


class Step(NamedTuple):
    """A command, and what it is for."""

    title: str
    command: str


def next_steps(settings: Settings, name: str = "") -> list[Step]:
    """List what to do next with a run that has ended; the most useful first.

    Parameters
    ----------
    name
        Of a candidate, for examples.
    """
    folder = shlex.quote(settings.paths.root.as_posix())
    config = shlex.quote(settings.paths.config.as_posix())
    steps = [Step("Grade the candidates in a browser", f"lenspipe inspect {folder}")]
    if settings.trains:
        steps.append(
            Step(
                "A second round: choose further galaxies to grade and train on",
                f"snakemake --cores 2 --configfile {config} mine",
            )
        )
    steps.append(
        Step(
            "Everything in one file, for colleagues",
            f"snakemake --cores 1 --configfile {config} --report {folder}/report.html",
        )
    )
    if name:
        steps.append(
            Step(
                "A page and a table of targets for a proposal",
                f"lenspipe sheets {folder} --names {shlex.quote(name)}",
            )
        )
    code = f"import lenspipe\nrun = lenspipe.open_run({settings.paths.root.as_posix()!r})\n"
    code += f"run.galaxy({name!r}).show()" if name else "run.scores"
    steps.append(Step("Tables and cutouts in Python", code))
    return steps


def describe_end(settings: Settings) -> str:
    """Name the page of a run that has ended, and the next two commands."""
    lines = [f"Open {settings.paths.page} in a browser. Next:"]
    lines += [f"  {step.command}    # {step.title}" for step in next_steps(settings)[:2]]
    return "\n".join(lines)
