"""The subcommand `lenspipe selection`."""

from pathlib import Path

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["add_selection"]


def add_selection(commands):
    """Add the subcommand to those of a parser.

    Parameters
    ----------
    commands : object
        What `argparse.ArgumentParser.add_subparsers` gives.
    """
    about = "Say how many lenses of a population of your own a search would find."
    parser = commands.add_parser(
        "selection",
        help=about,
        description=f"{about} Each lens gets its completeness with an interval; the columns that "
        "the table needs are in docs/selection.md.",
    )
    parser.set_defaults(command=_selection)
    for name, text in (
        ("function", "The run's selection/selection.fits."),
        ("population", "Lenses, a row each: FITS, ECSV, CSV or Parquet."),
        ("output", "The same table with completeness: .csv, .parquet or .fits."),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=text)
    parser.add_argument(
        "--weights", metavar="COLUMN",
        help="How many lenses are expected like each; one if not given.",
    )  # fmt: skip
    parser.add_argument("--by", metavar="COLUMN", help="Numbers for each of its values, too.")


def _selection(options):
    configure_logging()
    from lenspipe.completeness.selection_function import SelectionFunction
    from lenspipe.utils.tables import check_output, read_user_table, write_user_table

    check_output(options.output)
    function = SelectionFunction.read(options.function)
    table = read_user_table(options.population, "a population of lenses")
    given = {}
    for name in ("weights", "by"):
        column = getattr(options, name)
        if column and column not in table:
            raise LenspipeError(
                f"--{name}: found no column {column} in {options.population}, expected one of "
                f"{', '.join(map(str, table.columns))}"
            )
        given[name] = table[column].to_numpy() if column else None
    numbers = function.predict_number(table, **given, where=options.population)
    result = function.completeness(table, where=options.population)
    write_user_table(options.output, table.assign(**result))
    for name, row in numbers.iterrows():
        print(
            f"{name}: {row['expected']:.1f} (95 %: {row['low']:.0f} to {row['high']:.0f}) of "
            f"{row['n']:g} lenses found"
        )
    if outside := int(result["extrapolated"].sum()):
        print(f"{outside} of {len(table)} rows are outside what was painted: column extrapolated")
    print(f"{options.output}: written")
