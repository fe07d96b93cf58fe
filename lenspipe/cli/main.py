"""The `lenspipe` command.

Modules that take long to import are imported by the subcommand that needs them.
"""

import argparse
import sys
from collections.abc import Sequence

from lenspipe import __version__
from lenspipe.cli import (
    exchange,
    expected,
    grade,
    inspection,
    purity,
    recovery,
    round,
    score,
    selection,
    sheets,
    shipped,
    simulate,
    status,
    train,
)
from lenspipe.utils.errors import LenspipeError

__all__ = ["main", "make_parser"]

_COMMANDS = (
    *(simulate.COMMAND, grade.COMMAND, train.COMMAND, score.COMMAND, status.COMMAND),
    *(sheets.COMMAND, inspection.COMMAND, recovery.COMMAND, purity.COMMAND, selection.COMMAND),
    *(round.COMMAND, expected.COMMAND, shipped.CARD_COMMAND, shipped.COMMAND),
    *(exchange.EXPORT_COMMAND, exchange.IMPORT_COMMAND),
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="lenspipe",
        description="Tools beside the lens search. The search itself is run with snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"lenspipe {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Those of the command line if not given.

    Returns
    -------
    int
        Exit status: 0, or 1 after a `LenspipeError`, whose text goes to standard error.
    """
    options = make_parser().parse_args(arguments)
    try:
        options.command(options)
    except LenspipeError as error:
        for line in str(error).splitlines():
            print(f"lenspipe: error: {line}", file=sys.stderr)
        return 1
    return 0
