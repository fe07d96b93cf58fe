"""The selection function as a FITS file; docs/selection.md describes its layout."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table
from numpy.typing import ArrayLike

from lenspipe import __version__
from lenspipe.completeness.quantities import Quantity
from lenspipe.completeness.splines import Spline, Terms
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["read_attributes", "write_attributes"]

#: Columns of each table and their descriptions. Units of minimum, maximum and median of MODEL are
#: in its column `unit`.
_MODEL_COLUMNS = {
    "name": "Quantity",
    "column": "Column of tables of lenses that holds it",
    "unit": "Unit; empty if dimensionless",
    "scale": "Scale of the splines: log is log10(x), log1p log10(1 + x)",
    "title": "Label of axes",
    "used": "Whether completeness depends on it; false for one value or none",
    "minimum": "Minimum among the injected lenses, on the scale",
    "maximum": "Maximum among the injected lenses, on the scale",
    "median": "Median of the injected lenses, in the unit",
    "n_knots": "Number of knots",
    "knots": "Knots of the cubic B-splines, on the scale; NaN after the last",
}

_COEFFICIENT_COLUMNS = {
    "term": "Quantities that the basis function of this coefficient depends on",
    "coefficient": "Coefficient of the logit of completeness",
    "centre": "Mean of the basis function over the injected lenses, subtracted",
    "freedom": "Effective degrees of freedom",
}

_SMOOTHING_COLUMNS = {
    "penalty": "Direction in which the function is smoothed, or interaction",
    "smoothing": "Smoothing parameter",
}

_CELL_COLUMNS = {
    "n_painted": "Lenses injected in the cell",
    "n_found": "Lenses found",
    "completeness": "Fraction found; NaN in an empty cell",
    "completeness_low": "Lower end of its 95 % interval (Wilson)",
    "completeness_high": "Upper end of its 95 % interval (Wilson)",
    "model": "Smooth function, mean over lenses; at the centre of an empty cell",
    "model_low": "Lower end of its 95 % interval",
    "model_high": "Upper end of its 95 % interval",
}

#: Keyword of the header -> key of the function's meta, and description.
_META_KEYWORDS = {
    "RUN": ("run", "Name of the run"),
    "THRESH": ("threshold", "Lowest cut in p of the candidates"),
    "MODEL": ("model", "First 16 digits of the model's SHA-256"),
}


def write_attributes(
    path: str | os.PathLike[str],
    attributes: Mapping[str, Any],
    cells: pd.DataFrame | None = None,
) -> None:
    """Write a selection function, and its cells if given; equal ones give equal bytes.

    Parameters
    ----------
    attributes
        Attributes of a `lenspipe.completeness.selection_function.SelectionFunction`.
    cells
        As returned by `lenspipe.completeness.cells.measure_cells`.
    """
    primary = fits.PrimaryHDU()
    primary.header["LPVERS"] = (__version__, "Version of lenspipe")
    for keyword, (key, comment) in _META_KEYWORDS.items():
        if key in attributes["meta"]:
            primary.header[keyword] = (attributes["meta"][key], comment)
    primary.header["NPAINTED"] = (attributes["n_painted"], "Lenses injected")
    primary.header["NFOUND"] = (attributes["n_found"], "Lenses found")
    primary.header["BRICKVAR"] = (attributes["brick_variance"], "Variance between bricks, logit^2")
    quantities, splines = attributes["quantities"], attributes["splines"]
    max_knots = max((len(spline.knots) for spline in splines.values()), default=1)
    rows = [
        _model_row(quantity, splines.get(quantity.name), max_knots, attributes["medians"])
        for quantity in quantities
    ]
    model = Table({name: [row[name] for row in rows] for name in _MODEL_COLUMNS})
    coefficients = Table(
        {
            "term": Terms(splines).columns,
            "coefficient": attributes["coefficients"],
            "centre": attributes["centres"],
            "freedom": attributes["freedom"],
        }
    )
    smoothing = Table(
        {
            "penalty": np.array(list(attributes["smoothing"]), "U21"),
            "smoothing": np.array(list(attributes["smoothing"].values()), np.float64),
        }
    )
    hdus = [primary]
    if cells is not None:
        hdus.append(_cells_hdu(cells, {quantity.name: quantity.unit for quantity in quantities}))
    hdus.append(_table_hdu(model, "MODEL", _MODEL_COLUMNS))
    hdus.append(_table_hdu(coefficients, "COEFFICIENTS", _COEFFICIENT_COLUMNS))
    hdus.append(_table_hdu(smoothing, "SMOOTHING", _SMOOTHING_COLUMNS))
    hdus.append(fits.ImageHDU(attributes["covariance"], name="COVARIANCE"))
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def _model_row(
    quantity: Quantity, spline: Spline | None, max_knots: int, medians: Mapping[str, float]
) -> dict[str, Any]:
    knots = np.full(max_knots, np.nan)
    if spline:
        knots[: len(spline.knots)] = spline.knots
    return quantity._asdict() | {
        "used": spline is not None,
        "minimum": spline.low if spline else np.nan,
        "maximum": spline.high if spline else np.nan,
        "median": medians[quantity.name],
        "n_knots": len(spline.knots) if spline else 0,
        "knots": knots,
    }


def _cells_hdu(cells: pd.DataFrame, units: Mapping[str, str]) -> fits.BinTableHDU:
    table = Table.from_pandas(cells)
    descriptions = dict(_CELL_COLUMNS)
    for name, unit in units.items():
        for end, word in (("low", "Lower"), ("high", "Upper")):
            table[f"{name}_{end}"].unit = unit or None
            descriptions[f"{name}_{end}"] = f"{word} edge of the cell in {name}"
    return _table_hdu(table, "CELLS", descriptions)


def _table_hdu(table: Table, name: str, descriptions: Mapping[str, str]) -> fits.BinTableHDU:
    """A table as FITS; the descriptions become comments of the columns."""
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    for i, column in enumerate(table.colnames, 1):
        hdu.header[f"TCOMM{i}"] = descriptions[column]
    return hdu


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file written by `write_attributes`.

    Returns
    -------
    dict
        Attributes of a `lenspipe.completeness.selection_function.SelectionFunction`.

    Raises
    ------
    LenspipeError
        The file does not exist, or is not a selection function.
    """
    try:
        with fits.open(path) as hdus:
            header = hdus[0].header
            model = [dict(zip(_MODEL_COLUMNS, row, strict=True)) for row in hdus["MODEL"].data]
            table = hdus["COEFFICIENTS"].data
            columns = {name: _native(table[name]) for name in ("coefficient", "centre", "freedom")}
            smoothing = {str(name): float(value) for name, value in hdus["SMOOTHING"].data}
            covariance = _native(hdus["COVARIANCE"].data)
            counts = {name: header[name] for name in ("NPAINTED", "NFOUND", "BRICKVAR")}
            meta = {
                key: header[keyword]
                for keyword, (key, _) in _META_KEYWORDS.items()
                if keyword in header
            }
    except (OSError, KeyError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read as a selection function ({str(error).splitlines()[0]}); "
            "expected FITS like selection/selection.fits of a run"
        ) from None
    return {
        "quantities": [Quantity(*(str(row[name]) for name in Quantity._fields)) for row in model],
        "splines": {
            str(row["name"]): Spline(
                float(row["minimum"]),
                float(row["maximum"]),
                _native(row["knots"][: row["n_knots"]]),
            )
            for row in model
            if row["used"]
        },
        "medians": {str(row["name"]): float(row["median"]) for row in model},
        "coefficients": columns["coefficient"],
        "covariance": covariance,
        "centres": columns["centre"],
        "smoothing": smoothing,
        "freedom": columns["freedom"],
        "brick_variance": counts["BRICKVAR"],
        "n_painted": counts["NPAINTED"],
        "n_found": counts["NFOUND"],
        "meta": meta,
    }


def _native(values: ArrayLike) -> np.ndarray:
    """Numbers copied to memory in the machine's byte order."""
    return np.array(values, np.float64)
