"""The five quantities that completeness depends on: names, columns, units and scales."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.statistics.balance import quantity_values
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.user_tables import UserTable

__all__ = [
    "LENS_QUANTITIES",
    "Quantity",
    "read_quantities",
    "selection_quantities",
    "user_quantities",
]

#: The two that describe the lens; the others are observing conditions and the lens galaxy.
LENS_QUANTITIES = ("theta_e", "brightness")


class Quantity(NamedTuple):
    """One of the five quantities.

    Attributes
    ----------
    name
        theta_e, brightness, seeing, depth or mag.
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


def selection_quantities(bands: Sequence[str], brightness: str = "arc_snr") -> list[Quantity]:
    """The five quantities of a run.

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
    ]


def user_quantities(table: UserTable, quantities: Sequence[Quantity]) -> pd.DataFrame:
    """Take the columns of the quantities from a user's table, in their units.

    Returns
    -------
    pandas.DataFrame
        Those columns that the table has, by the quantities' names of columns (or
        ``galdepth_<band>``), and ``brick`` (str), as `read_quantities` and
        `lenspipe.completeness.selection_function.SelectionFunction.predict_number` take them.

    Raises
    ------
    LenspipeError
        A cell is no number, or a column has another kind of unit.
    """
    table.refuse_broken()
    units = {quantity.column: quantity.unit for quantity in quantities}
    units |= {n.replace("depth_", "galdepth_"): "" for n in units if n.startswith("depth_")}
    columns: dict[str, np.ndarray | pd.Series] = {}
    for name, unit in units.items():
        if (number := table.find(name)) is not None:
            columns[name] = table.numbers(number, unit)
    if (number := table.find("brick")) is not None:
        columns["brick"] = table.text(number)
    return pd.DataFrame(columns, index=range(len(table)))


def read_quantities(
    table: pd.DataFrame,
    quantities: Sequence[Quantity],
    zero_point_mag: float,
    where: str | Path,
) -> pd.DataFrame:
    """Take the quantities from a table of lenses.

    Columns are float64, one for each quantity, by its name. Seeing, depth and mag are NaN where
    they are unknown. In place of ``depth_<band>`` the table may have ``galdepth_<band>``, the
    survey's inverse variance in nanomaggy^-2.

    Raises
    ------
    LenspipeError
        A column is missing, or a row has no valid Einstein radius or brightness of the arcs.
    """
    columns = {}
    for quantity in quantities:
        column, galdepth = quantity.column, quantity.column.replace("depth_", "galdepth_")
        if column in table:
            values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        elif quantity.name == "depth" and galdepth in table:
            values = quantity_values(table, "depth", column.removeprefix("depth_"), zero_point_mag)
        else:
            or_galdepth = f" (or {galdepth})" if quantity.name == "depth" else ""
            raise LenspipeError(
                f"{where}: found no column {column}, expected it{or_galdepth} for the selection "
                "function; add it"
                + ("" if quantity.name in LENS_QUANTITIES else ", with NaN where it is unknown")
            )
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
