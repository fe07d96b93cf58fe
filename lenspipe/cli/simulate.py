"""The subcommand ``lenspipe simulate``."""

import argparse
from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import (
    Command,
    add_keys,
    add_workers,
    demo_modules,
    make_folder,
    user_path,
)
from lenspipe.config.data import Simulation
from lenspipe.config.settings import Settings, load_settings
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


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
    add_workers(parser)
    add_keys(parser.add_argument_group("content of the sky"), Simulation)


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
    with demo_modules("a simulated sky"):
        from lenspipe.simulation.sky import simulate

        simulate(settings, given.get("workers"), options.output)


COMMAND = Command(
    name="simulate",
    run=_run,
    add_arguments=_add_arguments,
    help="Simulate a sky: files laid out like Legacy Surveys DR9, with the truth beside them.",
    details="Give --ra and --dec, or --bricks. Existing bricks made with the same options are "
    "kept.",
    shows_defaults=True,
)
