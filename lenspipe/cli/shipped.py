"""The subcommands ``lenspipe train-shipped`` and ``lenspipe model-card``."""

import argparse
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenspipe.cli.commands import (
    Command,
    add_keys,
    add_model,
    add_workers,
    demo_modules,
    make_folder,
    make_section,
    user_path,
)
from lenspipe.config.paths import SHIPPED, model_file
from lenspipe.config.training import ShippedTraining
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["CARD_COMMAND", "COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=user_path, required=True, metavar="DIR", default=argparse.SUPPRESS,
        help="Folder of the model, its card, and what a killed run resumes from.",
    )  # fmt: skip
    parser.add_argument(
        "--real", type=user_path, metavar="FILE", default=argparse.SUPPRESS,
        help="Figures on real stamps for the card, from benchmarks/real_stamps.py --json.",
    )  # fmt: skip
    add_workers(parser)
    add_keys(parser.add_argument_group("training"), ShippedTraining)


def _run(options: Namespace) -> None:
    given = vars(options)
    training = make_section(
        ShippedTraining, {name: given[name] for name in ShippedTraining.model_fields}
    )
    real = _read_figures(given["real"]) if "real" in given else None
    make_folder(options.output)
    configure_logging()
    with demo_modules("the training on simulated stamps"):
        from lenspipe.simulation.stamps import draw_stamps
        from lenspipe.training.shipped import train_shipped

        card = train_shipped(options.output, training, draw_stamps, given.get("workers"), real)
    print(f"{options.output / 'model.keras'}: {card.note}")


def _read_figures(path: Path) -> dict:
    """Read the figures on real stamps."""
    try:
        figures = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read ({error}), expected figures on real stamps, JSON; write it "
            "with benchmarks/real_stamps.py --json"
        ) from None
    if not isinstance(figures, dict) or "auc_all" not in figures:
        raise LenspipeError(
            f"{path}: found no key auc_all, expected figures on real stamps; write it with "
            "benchmarks/real_stamps.py --json"
        )
    return figures


COMMAND = Command(
    name="train-shipped",
    run=_run,
    add_arguments=_add_arguments,
    help="Train the model that comes with lenspipe, on simulated stamps alone.",
    details="Killed and started again it goes on; a finished model is kept and its card written "
    "again. Afterwards give DIR/model.keras as inference.model, or to `lenspipe score --model`.",
    shows_defaults=True,
)


def _add_card_arguments(parser: ArgumentParser) -> None:
    add_model(parser, "model", nargs="?", default=SHIPPED)
    parser.add_argument("--json", action="store_true", help="Print the card as JSON.")


def _print_card(options: Namespace) -> None:
    from lenspipe.products.cards import CARD, find_card, format_card

    path = model_file(options.model)
    if not path.is_file():
        raise LenspipeError(f"{path}: no such file, expected a trained model (.keras)")
    card = find_card(path)
    if card is None:
        raise LenspipeError(
            f"{path.with_name(CARD)}: no such file; only models of `lenspipe train-shipped` have a "
            "card: training.json beside a run's model describes that"
        )
    print(card.model_dump_json(indent=1) if options.json else format_card(card).rstrip())


CARD_COMMAND = Command(
    name="model-card",
    run=_print_card,
    add_arguments=_add_card_arguments,
    help="Print the card of the shipped model: what it was trained on, how well it does, and what "
    "it must not be used for.",
)
