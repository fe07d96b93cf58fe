"""The subcommand `lenspipe purity`."""

from pathlib import Path

from lenspipe.config.settings import load_settings, read_config
from lenspipe.utils.progress import configure_logging

__all__ = ["add_purity"]


def add_purity(commands):
    """Add the subcommand to those of a parser.

    Parameters
    ----------
    commands : object
        What `argparse.ArgumentParser.add_subparsers` gives.
    """
    about = "Measure how many random galaxies of a search pass, and how pure its candidates are."
    parser = commands.add_parser("purity", help=about, description=about)
    parser.set_defaults(command=_purity)
    parser.add_argument(
        "--config", type=Path, nargs="+", required=True, metavar="FILE",
        help="Configuration of the run, whose folder gets purity/purity.json, .csv and .png.",
    )  # fmt: skip


def _purity(options):
    settings = load_settings(read_config(options.config))
    configure_logging()
    from lenspipe.evaluation.purity.measure import measure_purity

    measure_purity(settings)
    print(f"{settings.paths.purity('purity.json')}, .csv and .png: written")
