"""The subcommand `lenspipe expected`."""

from pathlib import Path

from lenspipe.config.base import merged
from lenspipe.config.settings import load_settings, read_config
from lenspipe.utils.progress import configure_logging

__all__ = ["add_expected"]


def add_expected(commands):
    """Add the subcommand to those of a parser.

    Parameters
    ----------
    commands : object
        What `argparse.ArgumentParser.add_subparsers` gives.
    """
    about = "Say how many lenses a search should find, beside what it found."
    parser = commands.add_parser(
        "expected",
        help=about,
        description=f"{about} The run needs its selection function and its candidates; "
        "expected.json, .csv and .png are written into its folder expected.",
    )
    parser.set_defaults(command=_expected)
    parser.add_argument(
        "--config", type=Path, nargs="+", required=True, metavar="FILE",
        help="Configuration of the run.",
    )  # fmt: skip
    parser.add_argument(
        "--population", metavar="FILE",
        help="Table of lenses in place of config key expected.population; columns: "
        "docs/expected.md.",
    )  # fmt: skip
    parser.add_argument(
        "--area-deg2", type=float, metavar="AREA",
        help="Square degrees that a table without weights stands for.",
    )  # fmt: skip


def _expected(options):
    given = {"population": options.population, "area_deg2": options.area_deg2}
    given = {name: value for name, value in given.items() if value is not None}
    config = merged(read_config(options.config), {"expected": given} if given else {})
    settings = load_settings(config)
    configure_logging()
    from lenspipe.completeness.expected.numbers import expect_lenses

    print(expect_lenses(settings))
    print(f"\n{settings.paths.expected('expected')}.json, .csv and .png: written")
