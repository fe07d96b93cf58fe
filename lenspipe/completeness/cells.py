"""Completeness in cells of lens and conditions: as counted, and of the smooth function."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.completeness.quantities import (
    LENS_QUANTITIES,
    REGION,
    Quantity,
    read_quantities,
)
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.statistics.intervals import clustered_interval
from lenspipe.utils.progress import log

__all__ = ["cell_edges", "measure_cells"]


def cell_edges(values: ArrayLike, quantity: Quantity, bins: int | Sequence[float]) -> np.ndarray:
    """Edges of a quantity's bins.

    They ascend; there are two equal edges for a single value, two NaN for none. `values` are those
    of the injected lenses, NaN where unknown; `bins` are edges, or the number of bins: of Einstein
    radius and brightness uniform on the quantity's scale, of the others with equal numbers of
    lenses.
    """
    if not isinstance(bins, int):
        return np.asarray(bins, np.float64)
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return np.full(2, np.nan)
    if quantity.name in LENS_QUANTITIES:
        scaled = quantity.scaled(known)
        edges = quantity.unscaled(np.linspace(scaled.min(), scaled.max(), bins + 1))
        # Rounding would leave out the outermost values.
        edges[0], edges[-1] = known.min(), known.max()
    else:
        edges = np.quantile(known, np.linspace(0, 1, bins + 1))
    edges = np.unique(edges)
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def measure_cells(
    table: pd.DataFrame,
    function: SelectionFunction,
    bins: Mapping[str, int | Sequence[float]],
    where: str | Path = "injected lenses",
) -> pd.DataFrame:
    """Count injected and found lenses in cells of the five quantities, all regions together.

    The table is that of `lenspipe.completeness.selection_function.SelectionFunction.fit`; bins, by
    quantity, are those of `cell_edges`. A bin includes its lower edge, the last one both. Unknown
    values are set to the median.

    Returns
    -------
    pandas.DataFrame
        A row per cell: ``<quantity>_low``, ``<quantity>_high``, n_painted, n_found, completeness,
        completeness_low, completeness_high (95 %, lenses of a galaxy, ``id``, taken together; NaN
        in an empty cell), model, model_low, model_high: mean of the function over the cell's
        lenses, in an empty cell its value at the centre.
    """
    values = read_quantities(table, function.quantities, function.zero_point_mag, where)
    cell_of_lens, all_edges = np.zeros(len(values), int), []
    inside = np.ones(len(values), bool)
    quantities = [quantity for quantity in function.quantities if quantity != REGION]
    for quantity in quantities:
        column = values[quantity.name].fillna(function.medians[quantity.name]).to_numpy()
        edges = cell_edges(column, quantity, bins[quantity.name])
        all_edges.append(edges)
        n_bins = len(edges) - 1
        bin_ = np.searchsorted(edges, column, "right") - 1
        bin_[column == edges[-1]] = n_bins - 1
        # An unknown quantity has one bin for all lenses.
        bin_ = bin_ if np.isfinite(edges).all() else np.zeros(len(column), int)
        inside &= (bin_ >= 0) & (bin_ < n_bins)
        cell_of_lens = cell_of_lens * n_bins + bin_.clip(0, n_bins - 1)
    if not inside.all():
        log.info("selection: %d injected lenses are outside all cells", (~inside).sum())
    cells = pd.DataFrame(
        [
            {
                f"{quantity.name}_{end}": value
                for quantity, pair in zip(quantities, cell, strict=True)
                for end, value in zip(("low", "high"), pair, strict=True)
            }
            for cell in itertools.product(*(itertools.pairwise(edges) for edges in all_edges))
        ]
    )
    n_cells = len(cells)
    found = table["found"].to_numpy(bool)
    cells["n_painted"] = np.bincount(cell_of_lens[inside], minlength=n_cells)
    cells["n_found"] = np.bincount(cell_of_lens[inside & found], minlength=n_cells)
    filled, group = np.unique(cell_of_lens[inside], return_inverse=True)
    hosts = table["id"].to_numpy() if "id" in table else np.arange(len(table))
    ends = clustered_interval(found[inside], group, hosts[inside])
    cells["completeness"] = cells["n_found"] / cells["n_painted"].where(cells["n_painted"] > 0)
    for name, limits in zip(("completeness_low", "completeness_high"), ends, strict=True):
        cells[name] = pd.Series(limits, index=filled).reindex(cells.index)
    return cells.join(_model_in_cells(values[inside], cell_of_lens[inside], cells, function))


def _model_in_cells(
    values: pd.DataFrame, cell_of_lens: np.ndarray, cells: pd.DataFrame, function: SelectionFunction
) -> pd.DataFrame:
    """The function's mean in each cell; its value at the centre of those without lenses."""
    empty = np.flatnonzero(cells["n_painted"] == 0)
    centres = {}
    for quantity in function.quantities:
        if quantity == REGION:
            continue
        ends = cells.loc[empty, [f"{quantity.name}_low", f"{quantity.name}_high"]].to_numpy()
        centres[quantity.name] = quantity.unscaled(quantity.scaled(ends).mean(axis=1))
    rows = pd.concat([values, pd.DataFrame(centres)], ignore_index=True)
    columns = {quantity.name: quantity.column for quantity in function.quantities}
    rows = rows.rename(columns=columns)
    model = function.mean_completeness(rows, np.concatenate([cell_of_lens, empty]))
    return model.rename(columns={"completeness": "model", "low": "model_low", "high": "model_high"})
