"""The subcommand ``lenspipe round``."""

import argparse
import shlex
from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_run, options_given, settings_of
from lenspipe.config.settings import Settings
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--number", type=int, metavar="N", default=argparse.SUPPRESS,
        help="Number of galaxies to look at in a new round, in place of round.number.",
    )  # fmt: skip
    parser.add_argument(
        "--train", action="store_true",
        help="Train although some galaxies of the round have no grade; they are left out.",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true", help="Keep the new network even if it recovers less."
    )
    parser.add_argument(
        "--snakemake", type=shlex.split, metavar="ARGS", default=["--cores", "all"],
        help="Arguments for Snakemake, which trains: '--cores 8', or '--workflow-profile "
        "workflow/profiles/slurm'; '--cores all' if not given.",
    )  # fmt: skip


def _run(options: Namespace) -> None:
    given = options_given(options, ["number"])
    settings = settings_of(options, {"round": given} if given else None)
    if settings.targets:
        raise LenspipeError(
            "targets: found a list, expected a footprint; grade a list with lenspipe inspect"
        )
    configure_logging()
    from lenspipe.products.files import read_json
    from lenspipe.rounds.begin import rounds_of

    numbers = rounds_of(settings.paths)
    last = numbers[-1] if numbers else 0
    if last and not read_json(settings.paths.round(last, "round.json"), "round")["finished"]:
        _finish(settings, last, options)
    else:
        _begin(settings, last + 1)


def _begin(settings: Settings, number: int) -> None:
    from lenspipe.rounds.begin import begin_round, cutouts_of_round

    paths = settings.paths
    record = begin_round(settings, number)
    print(
        f"round {number}: {record['n_chosen']} of {record['n_searched']} galaxies in "
        f"{paths.round(number, 'list.csv')}; fill in column grade, or grade them with\n"
        f"  lenspipe inspect {cutouts_of_round(paths, number)}\n"
        "and give the same command again"
    )


def _finish(settings: Settings, number: int, options: Namespace) -> None:
    from lenspipe.rounds.finish import describe, finish_round, grades_of_round

    path, grades, _ = grades_of_round(settings.paths, number)
    n_graded = int((grades["grade"] != "").sum())
    if n_graded < len(grades) and not (options.train and n_graded):
        raise LenspipeError(
            f"{path}: found grades of {n_graded} of the {len(grades)} galaxies of round {number}, "
            "expected all; grade the others, or give --train to leave them out"
        )
    record = finish_round(settings, number, options.snakemake, options.keep)
    print(
        f"round {number}: {record['n_lenses_found']} lenses among {record['n_graded']} graded, "
        f"{record['yield_per_1000']:.0f} per 1,000"
    )
    print(describe(record))
    if record["kept"]:
        print(f"search with it: snakemake --cores all --configfile {settings.paths.config}")


COMMAND = Command(
    name="round",
    run=_run,
    add_arguments=_add_arguments,
    help="Choose galaxies for people to grade, and train the next network with their grades.",
    details="The first time it chooses the galaxies of a round, by score, disagreement of an "
    "ensemble's networks, and diversity (section `round`). When they are graded, the same command "
    "trains a network with all grades, compares it with the one before on the held-out sky, and "
    "says whether to keep it: not if it recovers fewer lenses, unless --keep is given. The record "
    "of each round is in rounds/ of the run.",
)
