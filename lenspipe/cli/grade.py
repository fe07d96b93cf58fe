"""The subcommand ``lenspipe grade``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, user_path

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("list", type=user_path, help="CSV file written by mining or cleaning.")
    parser.add_argument(
        "--truth", type=user_path, required=True, metavar="FILE", help="The sky's truth.parquet."
    )


def _run(options: Namespace) -> None:
    from lenspipe.simulation.grade import grade_by_truth

    counts = grade_by_truth(options.list, options.truth)
    print(f"{options.list}: graded {counts.get('A', 0)} A and {counts.get('D', 0)} D")


COMMAND = Command(
    name="grade",
    run=_run,
    add_arguments=_add_arguments,
    help="Grade galaxies of a simulated sky by its truth, as a perfect grader would.",
)
