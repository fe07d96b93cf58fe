"""The subcommand ``lenspipe simulate``."""

import argparse
from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_keys, make_folder, user_path
from lenspipe.config.data import Simulation
from lenspipe.config.settings import Settings, load_settings
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]

#: Modules of the optional dependencies that a simulated sky needs.
_DEMO_MODULES = ("galsim", "lenstronomy")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=user_path, required=True, metavar="DIR", help="Folder of the sky.",
        default=argparse.SUPPRESS,
    )  # fmt: skip
    for name, quantity in (("ra", "right ascension"), ("dec", "declination")):
        parser.add_argument(
            f"--{name}", type=float, nargs=2, metavar=("MIN", "MAX"), default=argparse.SUPPRESS,
            help=f"Range of brick centres in {quantity}, degrees.",
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
        help="Number of processes; all cores if not given.",
    )  # fmt: skip
    add_keys(parser.add_argument_group("content of the sky"), Simulation)


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected at least 1")
    return value


def _run(options: Namespace) -> None:
    given = vars(options)
    settings = load_settings(
        {
            "run": "simulated",
            "seed": options.seed,
            "footprint": {name: given[name] for name in ("ra", "dec", "bricks") if name in given},
            "simulation": {name: given[name] for name in Simulation.model_fields},
        }
    )
    make_folder(options.output)
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


COMMAND = Command(
    name="simulate",
    run=_run,
    add_arguments=_add_arguments,
    help="Simulate a sky: files laid out like Legacy Surveys DR9, with the truth beside them.",
    details="Give --ra and --dec, or --bricks. Existing bricks made with the same options are "
    "kept.",
    shows_defaults=True,
)
