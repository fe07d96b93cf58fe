"""The subcommand ``lenspipe recovery``."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenspipe.cli.commands import (
    Command,
    add_config,
    make_section,
    options_given,
    read_settings,
    user_path,
)
from lenspipe.config.results import Recovery
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--scores", type=user_path, metavar="PATH",
        help="A run (results/<run>), a folder of its scores, or a Parquet file of scores.",
    )  # fmt: skip
    parser.add_argument(
        "--catalog", action="append", metavar="FILE", dest="catalogs",
        help="CSV, TSV, ECSV or FITS file with ra, dec; may be repeated.",
    )  # fmt: skip
    add_config(parser, required=False)
    parser.add_argument(
        "--radius-arcsec", "--radius", type=float, metavar="ARCSEC", help=_help("radius_arcsec")
    )
    parser.add_argument(
        "--thresholds", type=_split, metavar="P,P", help=_help("thresholds"),
    )  # fmt: skip
    parser.add_argument("--by", metavar="COLUMN", help=_help("by"))
    parser.add_argument("--sample", metavar="FILE", help=_help("sample"))
    parser.add_argument(
        "--output", type=user_path, default=Path("recovery"), metavar="DIR",
        help="Folder of <catalogue>.csv, .json and .png; recovery if not given.",
    )  # fmt: skip


def _split(text: str) -> list[str]:
    return text.split(",")


def _help(name: str) -> str:
    """Description and default of a key of section recovery."""
    field = Recovery.model_fields[name]
    default = "" if field.default is None else f" Default: {json.dumps(field.default)}."
    return f"{field.description}{default}".replace("%", "%%")


def _run(options: Namespace) -> None:
    settings = read_settings(options.config) if options.config else None
    given = options_given(options, Recovery.model_fields)
    recovery = make_section(Recovery, (settings.recovery.model_dump() if settings else {}) | given)
    scores = options.scores or (settings and settings.paths.root)
    if not scores or not recovery.catalogs:
        raise LenspipeError(
            "--scores, --catalog: found none; give both, or --config of a run with section recovery"
        )
    configure_logging()
    from lenspipe.evaluation.recovery.comparison import recovery_of

    for catalogue in recovery.catalogs:
        print(recovery_of(scores, catalogue, recovery, options.output, settings))
        print(f"\n{options.output / catalogue.label}.csv, .json and .png: written\n")


COMMAND = Command(
    name="recovery",
    run=_run,
    add_arguments=_add_arguments,
    help="Count the entries of a published catalogue that a search scored and passed, with the "
    "reasons for the others.",
    details="Give --scores and --catalog, or --config of the run, whose section `recovery` "
    "provides what is not given. Flags, and the cut that removed a galaxy, are known with --config "
    "only.",
)
