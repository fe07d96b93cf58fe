"""The subcommand ``lenspipe status``."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenspipe.cli.commands import Command, add_run, check_new, settings_of, user_path
from lenspipe.config.runs import settings_file

__all__ = ["COMMAND"]

#: What Snakemake reads without --configfile.
_DEFAULT_CONFIG = Path("config/config.yaml")


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser, "*", str(_DEFAULT_CONFIG))
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="Print a JSON object.")
    output.add_argument(
        "--html", type=user_path, metavar="FILE", help="Also write a page with a map of the bricks."
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace a page that exists.")


def _run(options: Namespace) -> None:
    from lenspipe.status.page import format_status, write_status_page
    from lenspipe.status.read import read_status

    given = options.run
    options.run = given or [_DEFAULT_CONFIG]
    settings = settings_of(options)
    configs = given
    if given and given[0].is_dir():
        configs = [file for file in [settings_file(given[0])] if file]
    if options.html:
        check_new([options.html], options)
        status = write_status_page(settings, options.html, configs)
    else:
        status = read_status(settings, configs=configs)
    print(json.dumps(status, indent=1) if options.json else format_status(status))


COMMAND = Command(
    name="status",
    run=_run,
    add_arguments=_add_arguments,
    help="Report the progress of a run: finished work, failures and reasons, speed, time left, "
    "and what to run next.",
    details="Reads small files of the run and changes nothing.",
)
