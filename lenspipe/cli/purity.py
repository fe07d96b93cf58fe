"""The subcommand ``lenspipe purity``."""

from argparse import ArgumentParser, Namespace

from lenspipe.cli.commands import Command, add_output, add_run, check_new, make_folder, settings_of
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    add_output(parser, "Folder of purity.json, .csv and .png; purity/ of the run if not given.")


def _run(options: Namespace) -> None:
    settings = settings_of(options)
    folder = options.output or settings.paths.purity("")
    check_new([folder / f"purity.{suffix}" for suffix in ("json", "csv", "png")], options)
    make_folder(folder)
    configure_logging()
    from lenspipe.evaluation.purity.measure import measure_purity

    measure_purity(settings, folder)
    print(f"{folder / 'purity.json'}, .csv and .png: written")


COMMAND = Command(
    name="purity",
    run=_run,
    add_arguments=_add_arguments,
    help="Measure the fraction of a search's random galaxies that pass, and the purity of its "
    "candidates.",
    details="Every search does this at its end; again with --overwrite after grading.",
)
