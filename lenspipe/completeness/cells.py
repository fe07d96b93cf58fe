"""Completeness in cells of lens and conditions, as counted and as the smooth function has it."""

import itertools

import numpy as np
import pandas as pd

from lenspipe.completeness.quantities import LENS, read_quantities
from lenspipe.statistics.metrics import wilson_interval
from lenspipe.utils.progress import log

__all__ = ["cell_edges", "measure_cells"]


def cell_edges(values, quantity, bins):
    """Edges of a quantity's bins.

    Parameters
    ----------
    values : array_like of float
        Of the painted lenses; NaN where unknown.
    quantity : lenspipe.completeness.quantities.Quantity
    bins : int or sequence of float
        Edges, or how many bins: of Einstein radius and brightness even on the quantity's scale, of
        the others with equal numbers of lenses.

    Returns
    -------
    numpy.ndarray of float64
        Rising; two equal ones where there is one value only, NaN where there is none.
    """
    if not isinstance(bins, int):
        return np.asarray(bins, np.float64)
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return np.full(2, np.nan)
    if quantity.name in LENS:
        scaled = quantity.scaled(values)
        edges = quantity.unscaled(np.linspace(scaled.min(), scaled.max(), bins + 1))
        # Rounding would leave out the outermost.
        edges[0], edges[-1] = values.min(), values.max()
    else:
        edges = np.quantile(values, np.linspace(0, 1, bins + 1))
    edges = np.unique(edges)
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def measure_cells(table, function, bins, where="painted lenses"):
    """Count painted and found lenses in cells of the five quantities.

    Parameters
    ----------
    table : pandas.DataFrame
        As for `lenspipe.completeness.selection_function.SelectionFunction.fit`.
    function : lenspipe.completeness.selection_function.SelectionFunction
    bins : dict
        Quantity -> number of bins or edges, as for `cell_edges`. A bin holds its lower edge, the
        last one both. Unknown values count as the median.
    where : str
        What the table is called in messages.

    Returns
    -------
    pandas.DataFrame
        A row per cell: ``<quantity>_low``, ``<quantity>_high``, n_painted, n_found, completeness,
        completeness_low, completeness_high (Wilson, 95 %; NaN in an empty cell), model, model_low,
        model_high: mean of the function over the cell's lenses, in an empty cell its value in the
        middle.
    """
    values = read_quantities(table, function.quantities, where)
    place, edges = np.zeros(len(values), int), []
    inside = np.ones(len(values), bool)
    for quantity in function.quantities:
        own = values[quantity.name].fillna(function.medians[quantity.name]).to_numpy()
        edges.append(cell_edges(own, quantity, bins[quantity.name]))
        number = len(edges[-1]) - 1
        bin_ = np.searchsorted(edges[-1], own, "right") - 1
        bin_[own == edges[-1][-1]] = number - 1
        # A quantity that nothing is known of has one bin for all.
        bin_ = bin_ if np.isfinite(edges[-1]).all() else np.zeros(len(own), int)
        inside &= (bin_ >= 0) & (bin_ < number)
        place = place * number + bin_.clip(0, number - 1)
    if not inside.all():
        log.info("selection: %d painted lenses are outside all cells", (~inside).sum())
    cells = pd.DataFrame(
        [
            {
                f"{quantity.name}_{end}": value
                for quantity, pair in zip(function.quantities, cell, strict=True)
                for end, value in zip(("low", "high"), pair, strict=True)
            }
            for cell in itertools.product(*(itertools.pairwise(of) for of in edges))
        ]
    )
    number = len(cells)
    found = table["found"].to_numpy(bool)
    cells["n_painted"] = np.bincount(place[inside], minlength=number)
    cells["n_found"] = np.bincount(place[inside & found], minlength=number)
    counts = zip(cells["n_found"], cells["n_painted"], strict=True)
    parts = [(k / n, *wilson_interval(k, n)) if n else (np.nan,) * 3 for k, n in counts]
    cells[["completeness", "completeness_low", "completeness_high"]] = parts
    return cells.join(_of_function(values[inside], place[inside], cells, function))


def _of_function(values, place, cells, function):
    """The smooth function's mean in each cell; at the middle of those without lenses."""
    empty = np.flatnonzero(cells["n_painted"] == 0)
    middles = {}
    for quantity in function.quantities:
        ends = cells.loc[empty, [f"{quantity.name}_low", f"{quantity.name}_high"]].to_numpy()
        middles[quantity.name] = quantity.unscaled(quantity.scaled(ends).mean(axis=1))
    both = pd.concat([values, pd.DataFrame(middles)], ignore_index=True)
    columns = {quantity.name: quantity.column for quantity in function.quantities}
    both = both.rename(columns=columns)
    model = function.mean_completeness(both, np.concatenate([place, empty]))
    return model.rename(columns={"completeness": "model", "low": "model_low", "high": "model_high"})
