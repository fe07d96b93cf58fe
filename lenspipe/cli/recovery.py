"""The subcommand `lenspipe recovery`."""

import json
from pathlib import Path

from lenspipe.config.results import Recovery
from lenspipe.config.settings import load_settings, read_config
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["add_recovery"]


def add_recovery(commands):
    """Add the subcommand to those of a parser.

    Parameters
    ----------
    commands : object
        What `argparse.ArgumentParser.add_subparsers` gives.
    """
    about = "Say how many entries of a published catalogue a search scored and passed, and why not."
    parser = commands.add_parser(
        "recovery",
        help=about,
        description=f"{about} Give --scores and --catalog, or the run's --config, whose section "
        "`recovery` stands for what is not given. Flags, and which cut removed a galaxy, are known "
        "with --config only.",
    )
    parser.set_defaults(command=_recovery)
    parser.add_argument(
        "--scores", type=Path, metavar="PATH",
        help="A run (results/<run>), a folder of its scores, or a Parquet file of scores.",
    )  # fmt: skip
    parser.add_argument(
        "--catalog", action="append", metavar="FILE",
        help="CSV, TSV, ECSV or FITS with ra, dec; again for another.",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, nargs="+", metavar="FILE", help="Configuration of the run."
    )
    parser.add_argument(
        "--radius", type=float, metavar="ARCSEC", help=_help("radius_arcsec"), dest="radius_arcsec"
    )
    parser.add_argument("--thresholds", metavar="P,P", help=_help("thresholds"))
    parser.add_argument("--by", metavar="COLUMN", help=_help("by"))
    parser.add_argument("--sample", metavar="FILE", help=_help("sample"))
    parser.add_argument(
        "--output", type=Path, default=Path("recovery"), metavar="DIR",
        help="Where <catalogue>.csv, .json and .png are written; recovery if not given.",
    )  # fmt: skip


def _help(name):
    """What a key of section recovery means, and its default."""
    field = Recovery.model_fields[name]
    default = "" if field.default is None else f" Default: {json.dumps(field.default)}."
    return (field.description + default).replace("%", "%%")


def _recovery(options):
    settings = load_settings(read_config(options.config)) if options.config else None
    given = settings.recovery.model_dump() if settings else {}
    given |= {
        name: value
        for name in ("radius_arcsec", "by", "sample")
        if (value := getattr(options, name)) is not None
    }
    if options.thresholds:
        given["thresholds"] = options.thresholds.split(",")
    if options.catalog:
        given["catalogs"] = options.catalog
    try:
        own = Recovery(**given)
    except ValueError as error:
        problem = error.errors()[0]
        raise LenspipeError(
            f"--{problem['loc'][0]}: found {problem['input']!r}; {problem['msg']}"
        ) from None
    scores = options.scores or (settings and settings.paths.root)
    if not scores or not own.catalogs:
        raise LenspipeError(
            "--scores, --catalog: found none; give both, or --config of a run with section recovery"
        )
    configure_logging()
    from lenspipe.evaluation.recovery.comparison import recovery_of

    for catalogue in own.catalogs:
        print(recovery_of(scores, catalogue, own, options.output, settings))
        print(f"\n{options.output / catalogue.label}.csv, .json and .png: written\n")
