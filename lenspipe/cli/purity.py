"""The subcommand ``lenspipe purity``."""

from argparse import Namespace

from lenspipe.cli.commands import Command, add_config, read_settings
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _run(options: Namespace) -> None:
    settings = read_settings(options.config)
    configure_logging()
    from lenspipe.evaluation.purity.measure import measure_purity

    measure_purity(settings)
    print(f"{settings.paths.purity('purity.json')}, .csv and .png: written")


COMMAND = Command(
    name="purity",
    run=_run,
    add_arguments=add_config,
    help="Measure the fraction of a search's random galaxies that pass, and the purity of its "
    "candidates.",
    details="Writes purity/purity.json, .csv and .png in the folder of the run.",
)
