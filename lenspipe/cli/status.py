"""The subcommand ``lenspipe status``."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenspipe.cli.commands import Command, read_settings, user_path

__all__ = ["COMMAND"]

#: What Snakemake reads without --configfile.
_DEFAULT_CONFIG = Path("config/config.yaml")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "config", type=user_path, nargs="*",
        help=f"Configuration, as for snakemake's --configfile; {_DEFAULT_CONFIG} if not given.",
    )  # fmt: skip
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="Print a JSON object.")
    output.add_argument(
        "--html", type=user_path, metavar="FILE", help="Also write a page with a map of the bricks."
    )


def _run(options: Namespace) -> None:
    from lenspipe.status.page import format_status, write_status_page
    from lenspipe.status.read import read_status

    settings = read_settings(options.config or [_DEFAULT_CONFIG])
    if options.html:
        status = write_status_page(settings, options.html, options.config)
    else:
        status = read_status(settings, configs=options.config)
    print(json.dumps(status, indent=1) if options.json else format_status(status))


COMMAND = Command(
    name="status",
    run=_run,
    add_arguments=_add_arguments,
    help="Report the progress of a run: finished work, failures and reasons, speed, time left, "
    "and what to run next.",
    details="Reads small files of the run and changes nothing.",
)
