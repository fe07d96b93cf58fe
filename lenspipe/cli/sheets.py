"""The subcommand ``lenspipe sheets``.

Nothing here that takes long to import: every other subcommand reads this module too.
"""

from pathlib import Path

from lenspipe.utils.errors import LenspipeError

__all__ = ["add_sheets"]


def add_sheets(commands):
    """Add the subcommand to the command line.

    Parameters
    ----------
    commands : argparse subparsers
    """
    about = "Make a sheet for each of some candidates, and a table of targets for a proposal."
    parser = commands.add_parser(
        "sheets",
        help=about,
        description=f"{about} Sheets are PNGs and one PDF in sheets/ of the run: images, finder "
        "charts, positions, magnitudes, scores and grades.",
    )
    parser.set_defaults(command=_sheets)
    parser.add_argument("run", type=Path, help="Folder of the run, results/<run>.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--names", nargs="+", metavar="NAME", help="Candidates by name or id.")
    which.add_argument("--grades", metavar="A,B", help="Candidates with these grades.")
    which.add_argument(
        "--list", type=Path, metavar="FILE",
        help="Candidates named in a file: one a line, or a CSV with a column name or id.",
    )  # fmt: skip
    parser.add_argument(
        "--graded", type=Path, metavar="FILE",
        help="CSV with columns name or id, and grade; inspection/grades.csv of the run if not "
        "given and there.",
    )  # fmt: skip
    parser.add_argument(
        "--arrows", type=Path, metavar="FILE",
        help="CSV of suspected source images: name, label, and ra, dec (degrees) or dx, dy (arcsec "
        "to the East and North of the candidate).",
    )  # fmt: skip
    parser.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FITS",
        help="Image of other origin, shown beside the survey's; may be repeated.",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, nargs="+", metavar="FILE",
        help="Configuration of the run, which says where coadds for finder charts are; if not "
        "given that beside one of its models.",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="Folder of the sheets; sheets/ of the run."
    )


def _sheets(options):
    if not options.run.is_dir():
        raise LenspipeError(
            f"{options.run}: found no such folder, expected that of a run, results/<run>"
        )
    from lenspipe.config.paths import RunPaths
    from lenspipe.followup.choice import choose_candidates, read_arrows, read_graded
    from lenspipe.followup.sheets import make_sheets
    from lenspipe.utils.progress import configure_logging

    configure_logging()
    root = options.run.resolve()
    paths = RunPaths(root.name, root.parent)
    table = read_graded(paths, options.graded)
    table = choose_candidates(
        table, paths, names=options.names, grades=options.grades, file=options.list
    )
    arrows = read_arrows(options.arrows, table) if options.arrows else None
    output = options.output or paths.sheet("")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LenspipeError(
            f"{output}: can't be made ({error.strerror}); give --output a folder that can be "
            "written"
        ) from None
    number = make_sheets(paths, table, output, arrows, options.image, options.config)
    print(f"{output}: {number} sheets, sheets.pdf and targets.csv, .tex, .txt")
