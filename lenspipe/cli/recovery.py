"""The subcommand ``lenspipe recovery``."""

import argparse
import json
from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import (
    Command,
    add_output,
    add_run,
    check_new,
    make_folder,
    make_section,
    options_given,
    settings_of,
    user_path,
)
from lenspipe.config.results import Recovery
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]

#: Columns of a table of scores.
_COLUMNS = ("ra", "dec", "p", "id", "flags")


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser, "*")
    parser.add_argument(
        "--scores", type=user_path, metavar="PATH",
        help="Scores in place of those of a run: a table with ra, dec and p, or a folder of such "
        "tables in Parquet.",
    )  # fmt: skip
    parser.add_argument(
        "--columns", type=_names, metavar="p=NAME,...", default={},
        help="Names of the columns ra, dec, p, id and flags in --scores, where they are others.",
    )  # fmt: skip
    parser.add_argument(
        "--catalog", action="append", metavar="FILE", dest="catalogs",
        help="CSV, TSV, ECSV or FITS file with ra, dec; may be repeated.",
    )  # fmt: skip
    parser.add_argument(
        "--radius-arcsec", "--radius", type=float, metavar="ARCSEC", help=_help("radius_arcsec")
    )
    parser.add_argument(
        "--thresholds", type=_split, metavar="P,P", help=_help("thresholds"),
    )  # fmt: skip
    parser.add_argument("--by", metavar="COLUMN", help=_help("by"))
    parser.add_argument("--sample", metavar="FILE", help=_help("sample"))
    text = "Folder of <catalogue>.csv, .json and .png; recovery/ of the run if not given."
    add_output(parser, text)


def _split(text: str) -> list[str]:
    return text.split(",")


def _names(text: str) -> dict[str, str]:
    """Read ``p=score,id=row_id``."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if wrong := [name for name, _, value in pairs if name not in _COLUMNS or not value]:
        raise argparse.ArgumentTypeError(
            f"found {wrong[0]!r}, expected pairs such as p=score, for some of {', '.join(_COLUMNS)}"
        )
    return {name: value for name, _, value in pairs}


def _help(name: str) -> str:
    """Description and default of a key of section recovery."""
    field = Recovery.model_fields[name]
    default = "" if field.default is None else f" Default: {json.dumps(field.default)}."
    return f"{field.description}{default}".replace("%", "%%")


def _run(options: Namespace) -> None:
    settings = settings_of(options) if options.run else None
    given = options_given(options, Recovery.model_fields)
    recovery = make_section(Recovery, (settings.recovery.model_dump() if settings else {}) | given)
    scores = options.scores or (settings.paths.root if settings else None)
    if not scores or not recovery.catalogs:
        raise LenspipeError(
            "RUN, --catalog: found none; give the folder of a run, or --scores, and a catalogue"
        )
    if options.columns and not options.scores:
        raise LenspipeError("--columns: found without --scores; a run has columns of its own")
    folder = options.output or (settings.paths.recovery_folder if settings else None)
    if folder is None:
        raise LenspipeError("--output: found none; give the folder of the results")
    labels = [catalogue.label for catalogue in recovery.catalogs]
    check_new([folder / f"{n}.{end}" for n in labels for end in ("csv", "json", "png")], options)
    make_folder(folder)
    configure_logging()
    from lenspipe.evaluation.recovery.comparison import recovery_of

    for catalogue in recovery.catalogs:
        print(recovery_of(scores, catalogue, recovery, folder, settings, options.columns))
        print(f"\n{folder / catalogue.label}.csv, .json and .png: written\n")


COMMAND = Command(
    name="recovery",
    run=_run,
    add_arguments=_add_arguments,
    help="Count the entries of a published catalogue that a search scored and passed, with the "
    "reasons for the others.",
    details="The run's section `recovery` provides what is not given. Of scores that are no run's "
    "the reasons are not known.",
)
