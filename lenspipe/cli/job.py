"""The frame of the workflow's scripts: log, settings, errors, stages, and the end of orphans."""

import contextlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lenspipe.config.settings import Settings, load_settings
from lenspipe.config.stages import STAGES
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging, end_with, log

__all__ = ["job", "run_stage"]


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[Settings]:
    """Run the body of a workflow's script.

    Logs to the rule's log and to standard error, ends when the workflow that started it has ended,
    and turns a `LenspipeError` into one log line and exit status 1.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives a script.

    Yields
    ------
    lenspipe.config.settings.Settings
    """
    configure_logging(snakemake.log[0] if snakemake.log else None)
    if parent := os.environ.get("LENSPIPE_WORKFLOW_PID"):
        end_with(int(parent))
    try:
        yield load_settings(snakemake.config)
    except LenspipeError as error:
        for line in str(error).splitlines():
            log.error("lenspipe: error: %s", line)
        sys.exit(1)


def run_stage(name: str, settings: Settings, wildcards: Mapping[str, str]) -> None:
    """Call the function of a stage for the chunk, brick, model or trial that the wildcards name."""
    stage = STAGES[name]
    function = pkgutil.resolve_name(f"lenspipe.{stage.function}")
    if stage.per == "run":
        function(settings)
    elif stage.per == "model":
        function(settings.of_model(wildcards["model"]))
    elif stage.per == "trial":
        function(settings, int(wildcards["trial"]))
    else:
        function(settings, wildcards[stage.per])
