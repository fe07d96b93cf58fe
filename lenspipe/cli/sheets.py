"""The subcommand ``lenspipe sheets``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import (
    Command,
    add_output,
    add_run,
    check_new,
    make_folder,
    paths_of,
    settings_of,
    user_path,
)
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    selection = parser.add_mutually_exclusive_group(required=True)
    selection.add_argument("--names", nargs="+", metavar="NAME", help="Candidates by name or id.")
    selection.add_argument("--grades", metavar="A,B", help="Candidates with these grades.")
    selection.add_argument(
        "--list", type=user_path, metavar="FILE",
        help="Candidates named in a file: one per line, or a table with a column name or id.",
    )  # fmt: skip
    parser.add_argument(
        "--graded", type=user_path, metavar="FILE",
        help="Table with columns name or id, and grade; if not given, inspection/grades.csv of the "
        "run if it exists.",
    )  # fmt: skip
    parser.add_argument(
        "--arrows", type=user_path, metavar="FILE",
        help="Table of suspected source images: name, label, and ra, dec (degrees) or dx, dy "
        "(arcsec to the East and North of the candidate).",
    )  # fmt: skip
    parser.add_argument(
        "--image", type=user_path, action="append", default=[], metavar="FITS",
        help="Other image, shown beside the survey's; may be repeated.",
    )  # fmt: skip
    add_output(parser, "Folder of the sheets; sheets/ of the run if not given.")


def _run(options: Namespace) -> None:
    paths = paths_of(options)
    output = options.output or paths.sheet("")
    check_new([output / "sheets.pdf"], options)
    from lenspipe.config.runs import settings_file
    from lenspipe.followup.choice import choose_candidates, read_arrows, read_graded
    from lenspipe.followup.sheets import make_sheets

    configure_logging()
    table = read_graded(paths, options.graded)
    table = choose_candidates(
        table, paths, names=options.names, grades=options.grades, file=options.list
    )
    arrows = read_arrows(options.arrows, table) if options.arrows else None
    make_folder(output)
    known = not options.run[0].is_dir() or settings_file(options.run[0])
    settings = settings_of(options) if known else None
    number = make_sheets(paths, table, output, arrows, options.image, settings)
    print(f"{output}: {number} sheets, sheets.pdf and targets.csv, .tex, .txt")


COMMAND = Command(
    name="sheets",
    run=_run,
    add_arguments=_add_arguments,
    help="Make a sheet for each of some candidates, and a table of targets for a proposal.",
    details="Sheets are PNGs and one PDF in sheets/ of the run: images, finder charts, positions, "
    "magnitudes, scores and grades.",
)
