"""The subcommand ``lenspipe score``."""

import argparse
from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import (
    Command,
    add_keys,
    add_model,
    add_output,
    check_new,
    make_section,
    user_path,
)
from lenspipe.config.learning import Inference
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "cutouts", type=user_path, help="File of cutouts, such as one of a run's cutout files."
    )
    add_model(parser, "--model", required=True, default=argparse.SUPPRESS)
    text = "Table to write: .csv, .parquet or .fits."
    add_output(parser, text, metavar="FILE", required=True, default=argparse.SUPPRESS)
    parser.add_argument(
        "--table", type=user_path, metavar="FILE", default=argparse.SUPPRESS,
        help="Table with a row per cutout, in the same order: name, ra, dec (docs/tables.md).",
    )  # fmt: skip
    add_keys(parser, Inference, leave_out=["model"])


def _run(options: Namespace) -> None:
    given = vars(options)
    keys = [name for name in Inference.model_fields if name != "model"]
    inference = make_section(Inference, {name: given[name] for name in keys})
    check_new([options.output], options)
    configure_logging()
    from lenspipe.scoring.user_cutouts import score_stack

    table = given.get("table")
    number = score_stack(options.model, options.cutouts, options.output, table, inference)
    print(f"{options.output}: scored {number} cutouts")


COMMAND = Command(
    name="score",
    run=_run,
    add_arguments=_add_arguments,
    help="Score your own cutouts with a trained model.",
    details="Cutouts are a FITS file (an image, and optionally a table) or an npz file, as (N, "
    "bands, size, size) or (N, size, size, bands) floating-point numbers in nanomaggies, with the "
    "bands and size that the model was trained on. Names and positions in the table are copied to "
    "the scores.",
    shows_defaults=True,
)
