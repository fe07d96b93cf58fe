"""The subcommand ``lenspipe selection``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from lenspipe.cli.commands import Command, add_output, add_run, check_new, paths_of, user_path
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

__all__ = ["COMMAND"]


def _add_arguments(parser: ArgumentParser) -> None:
    add_run(parser, "*")
    parser.add_argument(
        "--function", type=user_path, metavar="FILE",
        help="A selection function, selection.fits, in place of that of a run.",
    )  # fmt: skip
    parser.add_argument(
        "--population", type=user_path, required=True, metavar="FILE",
        help="Lenses, a row each: FITS, VOTable, ECSV, CSV or Parquet.",
    )  # fmt: skip
    text = (
        "The same table with completeness: .csv, .parquet or .fits; "
        "selection/populations/<name>.csv of the run if not given."
    )
    add_output(parser, text, metavar="FILE")
    parser.add_argument(
        "--weights", metavar="COLUMN",
        help="Expected number of lenses that each row represents; 1 if not given.",
    )  # fmt: skip
    parser.add_argument(
        "--by", metavar="COLUMN", help="Column for whose values numbers are also given separately."
    )


def _run(options: Namespace) -> None:
    configure_logging()
    from lenspipe.completeness.quantities import user_quantities
    from lenspipe.completeness.selection_function import SelectionFunction
    from lenspipe.products.files import require
    from lenspipe.utils.tables import check_output, write_table
    from lenspipe.utils.user_tables import read_user_table

    path, output = options.function, options.output
    if options.run:
        paths = paths_of(options)
        path = path or require(paths.selection("selection.fits"), "selection_function")
        output = output or paths.population(options.population.stem)
    if path is None or output is None:
        raise LenspipeError(
            "RUN: found none; give the folder of a run, or both --function and --output"
        )
    check_output(output)
    check_new([output], options)
    function = SelectionFunction.read(path)
    given = read_user_table(options.population, "a population of lenses")
    frame, table = given.frame(), user_quantities(given, function.quantities)
    columns: dict[str, Any] = {}
    for name in ("weights", "by"):
        column = getattr(options, name)
        if column and column not in frame:
            raise LenspipeError(
                f"--{name}: found no column {column} in {options.population}, expected one of "
                f"{', '.join(map(str, frame.columns))}"
            )
        columns[name] = frame[column].to_numpy() if column else None
    if options.weights:
        columns["weights"] = given.numbers(given.names.index(options.weights))
    if options.by and (frame[options.by].isna() | (frame[options.by] == "")).any():
        labels = given.text(given.names.index(options.by))
        columns["by"] = labels.replace("", "not given").to_numpy(object)
    numbers = function.predict_number(table, **columns, where=options.population)
    result = function.completeness(table, where=options.population)
    write_table(output, frame.assign(**result))
    for name, row in numbers.iterrows():
        print(
            f"{name}: {row['expected']:.1f} (95 %: {row['low']:.0f} to {row['high']:.0f}) of "
            f"{row['n']:g} lenses found"
        )
    if outside := int(result["extrapolated"].sum()):
        print(
            f"{outside} of {len(table)} rows are outside the range of injected lenses: column "
            "extrapolated"
        )
    print(f"{output}: written")


COMMAND = Command(
    name="selection",
    run=_run,
    add_arguments=_add_arguments,
    help="Predict how many lenses of your own population a search would find.",
    details="Each lens gets its completeness with an interval; docs/selection.md lists the columns "
    "that the table needs.",
)
