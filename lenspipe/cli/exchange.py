"""The subcommands ``lenspipe export`` and ``lenspipe import``."""

import argparse
import contextlib
import getpass
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
from lenspipe.cli.inspection import add_run_or_list, find_run
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["EXPORT_COMMAND", "IMPORT_COMMAND"]

_FORMATS = ("zooniverse", "huggingface")


def _add_export_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, required=True,
        help="zooniverse: images of the candidates and the manifest of a subject set. huggingface: "
        "all cutouts with their scores as Parquet files in the form of the Multimodal Universe.",
    )  # fmt: skip
    add_output(parser, "Folder of the files; exchange/<format> of the run if not given.")


def _export(options: Namespace) -> None:
    configure_logging()
    paths = paths_of(options)
    output = options.output or paths.exchange(options.format)
    if options.format == "zooniverse":
        from lenspipe.exchange.zooniverse import MANIFEST, write_subjects

        check_new([output / MANIFEST], options)
        make_folder(output)
        number = write_subjects(paths, output)
        print(
            f"{output}: {number} subjects. Upload them with: "
            f"panoptes subject-set upload-subjects ID {output / MANIFEST}"
        )
        return
    from lenspipe.exchange.datasets import write_dataset

    settings = settings_of(options)
    if options.overwrite:
        for path in output.glob("*.parquet"):
            path.unlink()
    make_folder(output)
    number = write_dataset(settings, output)
    print(f"{output}: {number} galaxies")


EXPORT_COMMAND = Command(
    name="export",
    run=_export,
    add_arguments=_add_export_arguments,
    help="Write candidates or cutouts in the format of another project.",
    details="An export that was stopped continues where it was.",
)


def _add_import_arguments(parser: ArgumentParser) -> None:
    add_run_or_list(parser)
    parser.add_argument(
        "file", type=user_path, metavar="FILE",
        help="Export of classifications from the Zooniverse (CSV), or a table with columns grade "
        "and id, name or ra, dec; optionally grader, comment and tags.",
    )  # fmt: skip
    parser.add_argument(
        "--answers", nargs="+", metavar="ANSWER=GRADE", default=argparse.SUPPRESS,
        help="Zooniverse: grade of each answer to the task, such as 'Yes=A' 'Maybe=C' 'No=D'.",
    )  # fmt: skip
    parser.add_argument(
        "--task", default="T0", help="Zooniverse: task whose answer is the vote; T0 if not given."
    )
    parser.add_argument(
        "--grader", default=argparse.SUPPRESS, metavar="NAME",
        help="Name of the grader where the table has no such column.",
    )  # fmt: skip
    parser.add_argument(
        "--radius", type=float, default=2.0, metavar="ARCSEC",
        help="Maximum distance of a position from its candidate; 2 if not given.",
    )  # fmt: skip


def _import(options: Namespace) -> None:
    configure_logging()
    from lenspipe.exchange.votes import add_foreign_votes, grader_name, read_grades
    from lenspipe.exchange.zooniverse import is_export, read_classifications
    from lenspipe.inspection.images import candidates_to_grade
    from lenspipe.inspection.store import Store
    from lenspipe.products.files import require
    from lenspipe.utils.user_tables import read_user_table

    paths, _ = find_run(options)
    require(paths.candidates, "candidates")
    candidates = candidates_to_grade(paths)
    table = read_user_table(options.file, "votes of the Zooniverse, or grades")
    if is_export(table):
        votes = read_classifications(table, _answers(options), options.task)
    else:
        grader = grader_name(vars(options).get("grader") or getpass.getuser())
        votes = read_grades(table, candidates, grader, options.radius)
    with contextlib.closing(Store(paths.inspection())) as store:
        numbers = add_foreign_votes(store, votes, candidates)
    print(f"{options.file}: {sum(numbers.values())} votes of {len(numbers)} graders")
    print(f"lenspipe inspect {paths.root} --export writes the grades")


def _answers(options: Namespace) -> dict[str, str]:
    from lenspipe.inspection.grades import POINTS

    pairs = [text.rpartition("=") for text in vars(options).get("answers", [])]
    wrong = [f"{a}{e}{g}" for a, e, g in pairs if not a or g not in POINTS]
    if wrong or not pairs:
        raise LenspipeError(
            f"--answers: found {', '.join(wrong) or 'none'}, expected ANSWER=GRADE with a grade of "
            "A to D for each answer, such as 'Yes=A' 'No=D'"
        )
    return {answer: grade for answer, _, grade in pairs}


IMPORT_COMMAND = Command(
    name="import",
    run=_import,
    add_arguments=_add_import_arguments,
    help="Add votes or grades that were given elsewhere to those of the inspection.",
    details="A file that is read again adds only what is new. Votes are weighted by the skill of "
    "their graders like all others.",
)
