"""The `lenspipe` command.

Whatever takes long to import is imported by the subcommand that needs it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

from lenspipe import __version__
from lenspipe.cli.expected import add_expected
from lenspipe.cli.inspection import add_inspect
from lenspipe.cli.purity import add_purity
from lenspipe.cli.recovery import add_recovery
from lenspipe.cli.selection import add_selection
from lenspipe.cli.sheets import add_sheets
from lenspipe.config.data import Simulation
from lenspipe.config.learning import Inference
from lenspipe.config.settings import Settings, load_settings, read_config
from lenspipe.utils.errors import LenspipeError

__all__ = ["main"]

#: Modules of the optional dependencies that a simulated sky needs.
_DEMO_MODULES = ("galsim", "lenstronomy")

#: What Snakemake reads without --configfile.
_DEFAULT_CONFIG = Path("config/config.yaml")


def main(arguments=None):
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        The command line's if not given.

    Returns
    -------
    int
        Exit status: 0, or 1 after a `LenspipeError`, whose text went to standard error.
    """
    parser = argparse.ArgumentParser(
        prog="lenspipe",
        description="Tools beside the lens search. The search itself is run with snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"lenspipe {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_simulate(commands)
    _add_grade(commands)
    _add_train(commands)
    _add_score(commands)
    _add_status(commands)
    add_sheets(commands)
    add_inspect(commands)
    add_recovery(commands)
    add_purity(commands)
    add_selection(commands)
    add_expected(commands)
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except LenspipeError as error:
        for line in str(error).splitlines():
            print(f"lenspipe: error: {line}", file=sys.stderr)
        return 1
    return 0


def _add_simulate(commands):
    about = "Make a simulated sky: a tree of Legacy Surveys DR9 with the truth beside it."
    parser = commands.add_parser(
        "simulate",
        help=about,
        description=f"{about} Give --ra and --dec, or --bricks. Bricks that are there already, "
        "from the same options, stay as they are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(command=_simulate)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="Folder of the sky.",
        default=argparse.SUPPRESS,
    )  # fmt: skip
    for name, what in (("ra", "right ascension"), ("dec", "declination")):
        parser.add_argument(
            f"--{name}", type=float, nargs=2, metavar=("MIN", "MAX"), default=argparse.SUPPRESS,
            help=f"Range of brick centres in {what}, degrees.",
        )  # fmt: skip
    parser.add_argument(
        "--bricks", nargs="+", metavar="NAME", default=argparse.SUPPRESS, help="Names of bricks."
    )
    seed = Settings.model_fields["seed"]
    parser.add_argument(
        "--seed", type=int, metavar="N", default=seed.default, help=seed.description
    )
    parser.add_argument(
        "--workers", type=_positive_int, metavar="N", default=argparse.SUPPRESS,
        help="Processes; all cores if not given.",
    )  # fmt: skip
    model = parser.add_argument_group("what is on the sky")
    for name, field in Simulation.model_fields.items():
        kind = field.annotation
        how = (
            {"action": argparse.BooleanOptionalAction}
            if kind is bool
            else {"type": kind, "metavar": kind.__name__.upper()}
        )
        text = field.description.replace("%", "%%")
        model.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=text, **how)


def _add_grade(commands):
    about = "Grade galaxies of a simulated sky by its truth, as a perfect eye would."
    parser = commands.add_parser("grade", help=about, description=about)
    parser.set_defaults(command=_grade)
    parser.add_argument("list", type=Path, help="CSV that mining or cleaning wrote.")
    parser.add_argument(
        "--truth", type=Path, required=True, metavar="FILE", help="The sky's truth.parquet."
    )


def _add_train(commands):
    about = "Train a run's network, as the workflow's rule does; with srun, on several machines."
    parser = commands.add_parser(
        "train", help=about, description=f"{about} The run's labelled sample has to be there."
    )
    parser.set_defaults(command=_train)
    parser.add_argument(
        "config", type=Path, nargs="+", help="Configuration; later files change keys of earlier."
    )
    parser.add_argument(
        "--model", metavar="NAME", help="Which member of an ensemble; all if not given."
    )


def _add_score(commands):
    about = "Score cutouts of your own with a trained model."
    parser = commands.add_parser(
        "score",
        help=about,
        description=f"{about} They come as FITS (an image, and a table if there is one) or npz, as "
        "(N, bands, size, size) or (N, size, size, bands) floating-point numbers in nanomaggies, "
        "with the bands and the size that the model was made for. Names and positions in the table "
        "go on into the scores.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(command=_score)
    parser.add_argument("cutouts", type=Path, help="Their file, also one of a run's cutouts.")
    for name, metavar, text in (
        ("model", "PATH", "File model.keras, or the folder that holds it."),
        ("output", "FILE", "Table to write: .csv, .parquet or .fits."),
    ):
        parser.add_argument(
            f"--{name}", type=Path, required=True, metavar=metavar, help=text,
            default=argparse.SUPPRESS,
        )  # fmt: skip
    parser.add_argument(
        "--table", type=Path, metavar="FILE", default=argparse.SUPPRESS,
        help="CSV with a row per cutout, in their order: name, ra, dec.",
    )  # fmt: skip
    for name, field in Inference.model_fields.items():
        if name == "model":
            continue
        choices = get_args(field.annotation)
        choices = choices if get_origin(field.annotation) is Literal else None
        parser.add_argument(
            f"--{name.replace('_', '-')}", default=field.default, help=field.description,
            type=type(field.default) if choices else _positive_int, choices=choices,
        )  # fmt: skip


def _add_status(commands):
    about = "Say how far a run is: done, failed and why, how fast, what is left, what to run."
    parser = commands.add_parser(
        "status", help=about, description=f"{about} Reads small files of the run, changes nothing."
    )
    parser.set_defaults(command=_status)
    parser.add_argument(
        "config", type=Path, nargs="*",
        help=f"Configuration, as for snakemake's --configfile; {_DEFAULT_CONFIG} if not given.",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="Print one object.")
    how.add_argument("--html", type=Path, metavar="FILE", help="Write a page with a map, too.")


def _status(options):
    from lenspipe.status.page import status_text, write_status_page
    from lenspipe.status.read import read_status

    settings = load_settings(read_config(options.config or [_DEFAULT_CONFIG]))
    if options.html:
        status = write_status_page(settings, options.html, options.config)
    else:
        status = read_status(settings, configs=options.config)
    print(json.dumps(status, indent=1) if options.json else status_text(status))


def _score(options):
    from lenspipe.utils.progress import configure_logging

    given = vars(options)
    names = [name for name in Inference.model_fields if name != "model"]
    try:
        own = Inference(**{name: given[name] for name in names})
    except ValueError as error:
        raise LenspipeError(f"--precision: {error.errors()[0]['msg']}") from None
    configure_logging()
    from lenspipe.scoring.user_cutouts import score_stack

    table = given.get("table")
    number = score_stack(options.model, options.cutouts, options.output, table, own)
    print(f"{options.output}: scored {number} cutouts")


def _train(options):
    from lenspipe.utils.progress import configure_logging

    settings = load_settings(read_config(options.config))
    names = settings.models
    if options.model and options.model not in names:
        raise LenspipeError(f"--model: found {options.model!r}, expected one of {', '.join(names)}")
    configure_logging()
    from lenspipe.training.fitting import train

    for name in [options.model] if options.model else names:
        train(settings.of_model(name))


def _grade(options):
    from lenspipe.simulation.grade import grade_by_truth

    counts = grade_by_truth(options.list, options.truth)
    print(f"{options.list}: graded {counts.get('A', 0)} A and {counts.get('D', 0)} D")


def _positive_int(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected at least 1")
    return value


def _simulate(options):
    given = vars(options)
    settings = load_settings(
        {
            "run": "simulated",
            "seed": options.seed,
            "footprint": {name: given[name] for name in ("ra", "dec", "bricks") if name in given},
            "simulation": {name: given[name] for name in Simulation.model_fields},
        }
    )
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LenspipeError(
            f"{options.output}: can't be made ({error.strerror}); give --output a folder that can "
            "be written"
        ) from None
    from lenspipe.utils.progress import configure_logging

    configure_logging()
    try:
        from lenspipe.simulation.sky import simulate

        simulate(settings, given.get("workers"), options.output)
    except ModuleNotFoundError as error:
        if error.name not in _DEMO_MODULES:
            raise
        raise LenspipeError(
            f"{error.name}: not installed; a simulated sky needs it: pip install 'lenspipe[demo]'"
        ) from None
