"""What completeness depends on: names, columns, units and scales of five quantities."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lenspipe.statistics.balance import values_of
from lenspipe.utils.errors import LenspipeError

__all__ = ["LENS", "Quantity", "quantities_of", "read_quantities"]

#: The two that describe the lens; the others say under what conditions it is seen.
LENS = ("theta_e", "brightness")


class Quantity(NamedTuple):
    """One of the five.

    Attributes
    ----------
    name : str
        theta_e, brightness, seeing, depth or mag.
    column : str
        Of tables.
    unit : str
        As astropy reads it; empty for none.
    scale : str
        On which completeness is smooth: ``log``, ``log1p`` or ``linear``.
    title : str
        Of axes.
    """

    name: str
    column: str
    unit: str
    scale: str
    title: str

    def scaled(self, values):
        """Values on the quantity's scale; those that the scale can't have are NaN.

        Parameters
        ----------
        values : array_like of float

        Returns
        -------
        numpy.ndarray of float64
        """
        values = np.asarray(values, np.float64)
        if self.scale == "log":
            return np.log10(np.where(values > 0, values, np.nan))
        if self.scale == "log1p":
            return np.log10(1 + np.where(values >= 0, values, np.nan))
        return values

    def unscaled(self, values):
        """Undo `scaled`.

        Parameters
        ----------
        values : array_like of float

        Returns
        -------
        numpy.ndarray of float64
        """
        values = np.asarray(values, np.float64)
        if self.scale == "linear":
            return values
        return 10**values - (self.scale == "log1p")


def quantities_of(bands, brightness="arc_snr"):
    """The five quantities of a run.

    Parameters
    ----------
    bands : sequence of str
        Seeing, depth and arcs' magnitude are those of the first, the lens's magnitude of the last.
    brightness : str
        ``arc_snr`` or ``arc_mag``.

    Returns
    -------
    list of Quantity
    """
    first, last = bands[0], bands[-1]
    bright = (
        Quantity("brightness", "arc_snr", "", "log1p", "arc signal-to-noise")
        if brightness == "arc_snr"
        else Quantity("brightness", f"arc_mag_{first}", "mag", "linear", f"arc {first} magnitude")
    )
    return [
        Quantity("theta_e", "theta_e_arcsec", "arcsec", "log", "Einstein radius (arcsec)"),
        bright,
        Quantity("seeing", f"psfsize_{first}", "arcsec", "linear", f"{first} seeing (arcsec)"),
        Quantity("depth", f"depth_{first}", "mag", "linear", f"{first} depth (mag)"),
        Quantity("mag", f"mag_{last}", "mag", "linear", f"lens {last} magnitude"),
    ]


def read_quantities(table, quantities, where):
    """Take the quantities out of a table.

    Parameters
    ----------
    table : pandas.DataFrame
        With their columns. In place of ``depth_<band>`` it may have ``galdepth_<band>``, inverse
        variance in 1 / nanomaggy^2, as the survey's catalogues do.
    quantities : sequence of Quantity
    where : str
        What the table is called in messages.

    Returns
    -------
    pandas.DataFrame
        float64, a column for each, named as the quantity, rows as in the table; what is no number
        that its scale can have is NaN, which only seeing, depth and mag may be.

    Raises
    ------
    LenspipeError
        A column is missing, or the Einstein radius or the arcs' brightness of a row.
    """
    found = {}
    for quantity in quantities:
        column, galdepth = quantity.column, quantity.column.replace("depth_", "galdepth_")
        if column in table:
            values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        elif quantity.name == "depth" and galdepth in table:
            values = values_of(table, "depth", column.removeprefix("depth_"))
        else:
            or_else = f" (or {galdepth})" if quantity.name == "depth" else ""
            raise LenspipeError(
                f"{where}: found no column {column}, expected{or_else} it for the selection "
                "function; add it"
                + ("" if quantity.name in LENS else ", with NaN where it is unknown")
            )
        known = np.isfinite(values) & np.isfinite(quantity.scaled(values))
        if quantity.name in LENS and not known.all():
            row = int(np.flatnonzero(~known)[0])
            raise LenspipeError(
                f"{where}: found {column} {table[column].iloc[row]} in row {row + 1} and "
                f"{(~known).sum()} such rows in all, expected numbers, not below 0 (Einstein radii "
                "above it); leave those rows out"
            )
        found[quantity.name] = np.where(known, values, np.nan)
    return pd.DataFrame(found, index=table.index)
