"""The subcommand ``lenspipe train``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_run, settings_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--model", metavar="NAME", help="Member of the ensemble to train; all if not given."
    )


def _run(options: Namespace) -> None:
    settings = settings_of(options)
    names = settings.models
    if options.model and options.model not in names:
        raise LenspipeError(f"--model: found {options.model!r}, expected one of {', '.join(names)}")
    configure_logging()
    from lenspipe.training.fitting import train

    for name in [options.model] if options.model else names:
        train(settings.of_model(name))


COMMAND = Command(
    name="train",
    run=_run,
    add_arguments=_add_arguments,
    help="Train a run's network, as the workflow does; with srun, on several machines.",
    details="The run needs its labelled sample.",
)
