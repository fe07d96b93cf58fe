"""The selection function as a FITS file; docs/selection.md describes its layout."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table
from numpy.typing import ArrayLike

from lenspipe import __version__
from lenspipe.completeness.quantities import Quantity
from lenspipe.completeness.splines import Spline, Terms
from lenspipe.products.described import described_hdu
from lenspipe.products.schema import CELLS, COEFFICIENTS, DESIGN, SMOOTHING, Column, names_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["read_attributes", "write_attributes"]

#: Keyword of the header -> key of the function's meta, and description.
_META_KEYWORDS = {
    "RUN": ("run", "Name of the run"),
    "THRESH": ("threshold", "Lowest cut in p of the candidates"),
    "MODEL": ("model", "First 16 digits of the model's SHA-256"),
    "LPCONFIG": ("settings", "First 16 digits of the SHA-256 of all settings"),
}


#: Keyword of the header -> attribute of the function.
_COUNTS = {
    "NPAINTED": "n_painted",
    "NFOUND": "n_found",
    "BRICKVAR": "brick_variance",
    "BRICKMEA": "brick_variance_measured",
}


def write_attributes(
    path: str | os.PathLike[str],
    attributes: Mapping[str, Any],
    cells: pd.DataFrame | None = None,
) -> None:
    """Write a selection function, and its cells if given; equal ones give equal bytes.

    Attributes are those of a `lenspipe.completeness.selection_function.SelectionFunction`, cells
    those of `lenspipe.completeness.cells.measure_cells`.
    """
    primary = fits.PrimaryHDU()
    primary.header["LPVERS"] = (__version__, "Version of lenspipe")
    for keyword, (key, comment) in _META_KEYWORDS.items():
        if key in attributes["meta"]:
            primary.header[keyword] = (attributes["meta"][key], comment)
    primary.header["NPAINTED"] = (attributes["n_painted"], "Lenses injected")
    primary.header["NFOUND"] = (attributes["n_found"], "Lenses found")
    primary.header["BRICKVAR"] = (attributes["brick_variance"], "Variance between bricks, logit^2")
    measured = attributes["brick_variance_measured"]
    primary.header["BRICKMEA"] = (measured, "Whether it is measured; else an upper limit")
    quantities, splines = attributes["quantities"], attributes["splines"]
    max_knots = max((len(spline.knots) for spline in splines.values()), default=1)
    rows = [
        _model_row(quantity, splines.get(quantity.name), max_knots, attributes["medians"])
        for quantity in quantities
    ]
    model = Table({name: [row[name] for row in rows] for name in names_of(DESIGN)})
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
        units = {q.name: q.unit for q in quantities if f"{q.name}_low" in cells}
        hdus.append(_cells_hdu(cells, units))
    hdus.append(_table_hdu(model, "MODEL", DESIGN))
    hdus.append(_table_hdu(coefficients, "COEFFICIENTS", COEFFICIENTS))
    hdus.append(_table_hdu(smoothing, "SMOOTHING", SMOOTHING))
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
    for name, unit in units.items():
        for end in ("low", "high"):
            table[f"{name}_{end}"].unit = unit or None
    return _table_hdu(table, "CELLS", CELLS)


def _table_hdu(table: Table, name: str, columns: Sequence[Column]) -> fits.BinTableHDU:
    """A table as FITS, with the descriptions and units of the schema."""
    for column in columns:
        table[column.name].description = column.description
        table[column.name].unit = table[column.name].unit or column.unit or None
    return described_hdu(table, name)


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file written by `write_attributes`.

    Return the attributes of a `lenspipe.completeness.selection_function.SelectionFunction`.

    Raises
    ------
    LenspipeError
        The file does not exist, or is not a selection function.
    """
    try:
        with fits.open(path) as hdus:
            header = hdus[0].header
            model = [dict(zip(names_of(DESIGN), row, strict=True)) for row in hdus["MODEL"].data]
            table = hdus["COEFFICIENTS"].data
            columns = {name: _native(table[name]) for name in ("coefficient", "centre", "freedom")}
            smoothing = {str(name): float(value) for name, value in hdus["SMOOTHING"].data}
            covariance = _native(hdus["COVARIANCE"].data)
            counts = {name: header[name] for name in _COUNTS}
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
        **{key: counts[name] for name, key in _COUNTS.items()},
        "meta": meta,
    }


def _native(values: ArrayLike) -> np.ndarray:
    """Numbers copied to memory in the machine's byte order."""
    return np.array(values, np.float64)
