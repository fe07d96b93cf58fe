"""The subcommand ``lenspipe expected``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_config, options_given, read_settings
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--population", metavar="FILE",
        help="Table of lenses in place of config key expected.population; columns: "
        "docs/expected.md.",
    )  # fmt: skip
    parser.add_argument(
        "--area-deg2", type=float, metavar="AREA",
        help="Area that a table without weights represents, square degrees.",
    )  # fmt: skip


def _run(options: Namespace) -> None:
    given = options_given(options, ["population", "area_deg2"])
    settings = read_settings(options.config, {"expected": given} if given else None)
    configure_logging()
    from lenspipe.completeness.expected.numbers import expect_lenses

    print(expect_lenses(settings))
    print(f"\n{settings.paths.expected('expected')}.json, .csv and .png: written")


COMMAND = Command(
    name="expected",
    run=_run,
    add_arguments=_add_arguments,
    help="Compare the number of lenses that a search should find with the number it found.",
    details="The run needs its selection function and its candidates. Writes expected.json, .csv "
    "and .png in its folder expected.",
)
