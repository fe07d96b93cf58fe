"""How the workflow runs a script: log, configuration, errors, and the end of orphans."""

import contextlib
import os
import sys

from lenspipe.config.settings import load_settings
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging, end_with, log

__all__ = ["job"]


@contextlib.contextmanager
def job(snakemake):
    """Run the body of a workflow's script.

    Logs to the rule's log and to standard error, ends with the workflow that started it, and
    answers a `LenspipeError` with one line and exit status 1.

    Parameters
    ----------
    snakemake : object
        What Snakemake hands to a script; ``config``, ``log`` and ``rule`` are read.

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
