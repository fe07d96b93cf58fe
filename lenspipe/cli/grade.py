"""The subcommand ``lenspipe grade``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_run, paths_of, user_path
from lenspipe.utils.errors import LenspipeError

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--list", type=user_path, metavar="FILE",
        help="CSV file written by mining or cleaning; the last one that the run mined if not "
        "given.",
    )  # fmt: skip
    parser.add_argument(
        "--truth", type=user_path, metavar="FILE",
        help="Truth of the simulated sky; sky/truth.parquet of the run if not given.",
    )  # fmt: skip


def _run(options: Namespace) -> None:
    from lenspipe.simulation.grade import grade_by_truth

    paths = paths_of(options)
    mined = sorted(
        paths.mined_index.parent.glob("version-*.csv"),
        key=lambda path: int(path.stem.removeprefix("version-")),
    )
    if not (options.list or mined):
        raise LenspipeError(
            f"{paths.mined_index.parent}: found no list, expected version-1.csv or a later one; "
            "make it with `snakemake mine`, or give --list"
        )
    path = options.list or mined[-1]
    counts = grade_by_truth(path, options.truth or paths.truth)
    print(f"{path}: graded {counts.get('A', 0)} A and {counts.get('D', 0)} D")


COMMAND = Command(
    name="grade",
    run=_run,
    add_arguments=_add_arguments,
    help="Grade galaxies of a simulated sky by its truth, as a perfect grader would.",
    details="Fills in the grades that are missing in a list, and changes no other.",
)
