"""The subcommand ``lenspipe expected``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import (
    Command,
    add_output,
    add_run,
    check_new,
    make_folder,
    options_given,
    settings_of,
)
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--population", metavar="FILE",
        help="Table of lenses in place of config key expected.population; columns: "
        "docs/expected.md.",
    )  # fmt: skip
    parser.add_argument(
        "--area-deg2", type=float, metavar="AREA",
        help="Area that a table without weights represents, square degrees.",
    )  # fmt: skip
    text = "Folder of expected.json, .csv and .png; expected/ of the run if not given."
    add_output(parser, text)


def _run(options: Namespace) -> None:
    given = options_given(options, ["population", "area_deg2"])
    settings = settings_of(options, {"expected": given} if given else None)
    folder = options.output or settings.paths.expected("")
    check_new([folder / f"expected.{suffix}" for suffix in ("json", "csv", "png")], options)
    make_folder(folder)
    configure_logging()
    from lenspipe.completeness.expected.numbers import expect_lenses

    print(expect_lenses(settings, folder))
    print(f"\n{folder / 'expected.json'}, .csv and .png: written")


COMMAND = Command(
    name="expected",
    run=_run,
    add_arguments=_add_arguments,
    help="Compare the number of lenses that a search should find with the number it found.",
    details="The run needs its selection function and its candidates.",
)
