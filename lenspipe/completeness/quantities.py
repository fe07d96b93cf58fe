"""The quantities that completeness depends on: names, columns, units and scales."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.statistics.balance import quantity_values
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.user_tables import UserTable

__all__ = [
    "COLOUR",
    "LENS_QUANTITIES",
    "REGION",
    "VISIBLE",
    "Quantity",
    "read_quantities",
    "selection_quantities",
    "user_quantities",
]

#: The two that describe the lens; the others are observing conditions and the lens galaxy.
LENS_QUANTITIES = ("theta_e", "brightness")


class Quantity(NamedTuple):
    """One of the five quantities, or the region.

    Attributes
    ----------
    name
        theta_e, brightness, seeing, depth, mag or region.
    column
        Column of tables of lenses.
    unit
        In astropy's notation; empty if dimensionless.
    scale
        Scale on which completeness is smooth: ``log``, ``log1p`` or ``linear``.
    title
        Label of axes.
    """

    name: str
    column: str
    unit: str
    scale: str
    title: str

    def scaled(self, values: ArrayLike) -> np.ndarray:
        """Values on the quantity's scale, float64; NaN where the scale does not allow them."""
        values = np.asarray(values, np.float64)
        if self.scale == "log":
            return np.log10(np.where(values > 0, values, np.nan))
        if self.scale == "log1p":
            return np.log10(1 + np.where(values >= 0, values, np.nan))
        return values

    def unscaled(self, values: ArrayLike) -> np.ndarray:
        """Undo `scaled`."""
        values = np.asarray(values, np.float64)
        if self.scale == "linear":
            return values
        return 10**values - (self.scale == "log1p")


#: The region of the survey, a condition where a search has both: cameras, resampling of their
#: pixels and artefacts differ in more than seeing and depth. Tables have its name, or the number.
REGION = Quantity("region", "region", "", "linear", "region (0 south, 1 north)")
_REGION_NUMBERS = {"south": 0.0, "north": 1.0}

#: Whether people would see the arcs: a condition where lenses that they would not are fewer than
#: on the sky, as those of the simulated sky are.
VISIBLE = Quantity("visible", "visible", "", "linear", "visible arcs (0 no, 1 yes)")

#: Colour of the galaxy that is the lens: planted deflectors are redder than the galaxies of their
#: magnitude, and arcs of redder galaxies are found more often.
COLOUR = Quantity("colour", "r_z", "mag", "linear", "lens r - z")


def selection_quantities(
    bands: Sequence[str], brightness: str = "arc_snr", regions: Collection[str] = ()
) -> list[Quantity]:
    """The five quantities of a run, and the region if it has several.

    Seeing, depth and the arcs' magnitude are those of the first band, the lens's magnitude that of
    the last; `brightness` is ``arc_snr`` or ``arc_mag``.
    """
    first, last = bands[0], bands[-1]
    arc_brightness = (
        Quantity("brightness", "arc_snr", "", "log1p", "arc signal-to-noise")
        if brightness == "arc_snr"
        else Quantity("brightness", f"arc_mag_{first}", "mag", "linear", f"arc {first} magnitude")
    )
    return [
        Quantity("theta_e", "theta_e_arcsec", "arcsec", "log", "Einstein radius (arcsec)"),
        arc_brightness,
        Quantity("seeing", f"psfsize_{first}", "arcsec", "linear", f"{first} seeing (arcsec)"),
        Quantity("depth", f"depth_{first}", "mag", "linear", f"{first} depth (mag)"),
        Quantity("mag", f"mag_{last}", "mag", "linear", f"lens {last} magnitude"),
        *([REGION] if len(set(regions)) > 1 else []),
    ]


def user_quantities(table: UserTable, quantities: Sequence[Quantity]) -> pd.DataFrame:
    """Take the columns of the quantities from a user's table, in their units.

    Returns
    -------
    pandas.DataFrame
        Those columns that the table has, by the quantities' names of columns (or
        ``galdepth_<band>``), and ``brick`` (str), as `read_quantities` and
        `lenspipe.completeness.selection_function.SelectionFunction.predict_number` take them; and
        ``region`` (str) if that is one of the quantities.

    Raises
    ------
    LenspipeError
        A cell is no number, or a column has another kind of unit.
    """
    table.refuse_broken()
    units = {quantity.column: quantity.unit for quantity in quantities if quantity != REGION}
    units |= {n.replace("depth_", "galdepth_"): "" for n in units if n.startswith("depth_")}
    columns: dict[str, np.ndarray | pd.Series] = {}
    for name, unit in units.items():
        if (number := table.find(name)) is not None:
            columns[name] = table.numbers(number, unit)
    for name in ("brick", *([REGION.column] if REGION in quantities else [])):
        if (number := table.find(name)) is not None:
            columns[name] = table.text(number)
    return pd.DataFrame(columns, index=range(len(table)))


def read_quantities(
    table: pd.DataFrame,
    quantities: Sequence[Quantity],
    zero_point_mag: float,
    where: str | Path,
) -> pd.DataFrame:
    """Take the quantities from a table of lenses.

    Columns are float64, one for each quantity, by its name. Seeing, depth, mag and region are NaN
    where they are unknown, the region also where there is no such column. In place of
    ``depth_<band>`` the table may have ``galdepth_<band>``, the survey's inverse variance in
    nanomaggy^-2.

    Raises
    ------
    LenspipeError
        A column is missing, or a row has no valid Einstein radius or brightness of the arcs.
    """
    columns = {}
    _refuse_missing(table, quantities, where)
    for quantity in quantities:
        column = quantity.column
        if quantity.name == REGION.name:
            values = _region_numbers(table)
        elif column in table:
            values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        else:
            values = quantity_values(table, "depth", column.removeprefix("depth_"), zero_point_mag)
        valid = np.isfinite(values) & np.isfinite(quantity.scaled(values))
        if quantity.name in LENS_QUANTITIES and not valid.all():
            row = int(np.flatnonzero(~valid)[0])
            raise LenspipeError(
                f"{where}: found {column} {table[column].iloc[row]} in row {row + 1} and "
                f"{(~valid).sum()} such rows in total, expected numbers of at least 0 (Einstein "
                "radii above 0); remove those rows"
            )
        columns[quantity.name] = np.where(valid, values, np.nan)
    return pd.DataFrame(columns, index=table.index)


def _refuse_missing(table: pd.DataFrame, quantities: Sequence[Quantity], where: str | Path) -> None:
    """Refuse a table that lacks columns, in a line that has all that are needed."""
    needed = [quantity for quantity in quantities if quantity.name != REGION.name]
    names = {quantity.column: [quantity.column] for quantity in needed}
    for quantity in needed:
        if quantity.name == "depth":
            names[quantity.column].append(quantity.column.replace("depth_", "galdepth_"))
    absent = [column for column, any_of in names.items() if not {*any_of} & {*table}]
    if not absent:
        return
    wanted = ", ".join(" or ".join(any_of) for any_of in names.values())
    unknown = [q.column for q in needed if q.name not in LENS_QUANTITIES]
    raise LenspipeError(
        f"{where}: found no column {', '.join(absent)}, expected {wanted} for the selection "
        f"function; add them, with NaN in {', '.join(unknown)} where these are unknown"
    )


def _region_numbers(table: pd.DataFrame) -> np.ndarray:
    """Number of the region of each lens, NaN where it is unknown."""
    if REGION.column not in table:
        return np.full(len(table), np.nan)
    regions = table[REGION.column]
    if not pd.api.types.is_numeric_dtype(regions):
        regions = regions.astype(str).str.strip().str.lower().map(_REGION_NUMBERS)
    return regions.to_numpy(np.float64)
