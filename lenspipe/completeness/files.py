"""The selection function as a FITS file; docs/selection.md describes its layout."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from lenspipe import __version__
from lenspipe.completeness.quantities import Quantity
from lenspipe.completeness.splines import Spline
from lenspipe.products.schema.completeness import CELLS, COEFFICIENTS, DESIGN, SMOOTHING
from lenspipe.products.schema.declarations import names_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["read_parts", "write_parts"]

#: Keyword of the header -> key of the function's meta, and what it is.
_META = {
    "RUN": ("run", "Name of the run"),
    "THRESH": ("threshold", "Lowest cut in p of the candidates"),
    "MODEL": ("model", "SHA-256 of the model, its first 16 digits"),
}


def write_parts(path, function, cells=None):
    """Write a function, and its cells if there are any; equal ones give equal bytes.

    Parameters
    ----------
    path : str or path-like
    function : lenspipe.completeness.selection_function.SelectionFunction
    cells : pandas.DataFrame, optional
        As of `lenspipe.completeness.cells.measure_cells`.
    """
    primary = fits.PrimaryHDU()
    primary.header["LPVERS"] = (__version__, "Version of lenspipe")
    for keyword, (key, comment) in _META.items():
        if key in function.meta:
            primary.header[keyword] = (function.meta[key], comment)
    primary.header["NPAINTED"] = (function.n_painted, "Lenses painted")
    primary.header["NFOUND"] = (function.n_found, "Those found")
    primary.header["BRICKVAR"] = (function.brick_variance, "Variance between bricks, logit^2")
    longest = max((len(spline.knots) for spline in function.splines.values()), default=1)
    rows = [_model_row(function, quantity, longest) for quantity in function.quantities]
    model = Table({name: [row[name] for row in rows] for name in names_of(DESIGN)})
    coefficients = Table(
        {
            "term": function.terms.columns,
            "coefficient": function.coefficients,
            "centre": function.centres,
            "freedom": function.freedom,
        }
    )
    smoothing = Table(
        {
            "penalty": np.array(list(function.smoothing), "U21"),
            "smoothing": np.array(list(function.smoothing.values()), np.float64),
        }
    )
    hdus = [primary]
    if cells is not None:
        units = {quantity.name: quantity.unit for quantity in function.quantities}
        hdus.append(_cells_hdu(cells, units))
    hdus.append(_as_hdu(model, "MODEL", DESIGN))
    hdus.append(_as_hdu(coefficients, "COEFFICIENTS", COEFFICIENTS))
    hdus.append(_as_hdu(smoothing, "SMOOTHING", SMOOTHING))
    hdus.append(fits.ImageHDU(function.covariance, name="COVARIANCE"))
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def _model_row(function, quantity, longest):
    """A quantity as a row of MODEL."""
    spline = function.splines.get(quantity.name)
    knots = np.full(longest, np.nan)
    if spline:
        knots[: len(spline.knots)] = spline.knots
    return quantity._asdict() | {
        "used": spline is not None,
        "minimum": spline.low if spline else np.nan,
        "maximum": spline.high if spline else np.nan,
        "median": function.medians[quantity.name],
        "n_knots": len(spline.knots) if spline else 0,
        "knots": knots,
    }


def _cells_hdu(cells, units):
    table = Table.from_pandas(cells)
    for name, unit in units.items():
        for end in ("low", "high"):
            table[f"{name}_{end}"].unit = unit or None
    return _as_hdu(table, "CELLS", CELLS)


def _as_hdu(table, name, columns):
    """A table as FITS; descriptions are comments of the columns."""
    described = {column.name: column.description for column in columns}
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    for i, column in enumerate(table.colnames, 1):
        hdu.header[f"TCOMM{i}"] = described[column]
    return hdu


def read_parts(path):
    """Read what makes a function.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        Arguments of `lenspipe.completeness.selection_function.SelectionFunction`.

    Raises
    ------
    LenspipeError
        No such file, or not of a selection function.
    """
    try:
        with fits.open(path) as hdus:
            header = hdus[0].header
            model = [dict(zip(names_of(DESIGN), row, strict=True)) for row in hdus["MODEL"].data]
            columns = hdus["COEFFICIENTS"].data
            numbers = {name: _own(columns[name]) for name in ("coefficient", "centre", "freedom")}
            smoothing = {str(name): float(value) for name, value in hdus["SMOOTHING"].data}
            covariance = _own(hdus["COVARIANCE"].data)
            counts = {name: header[name] for name in ("NPAINTED", "NFOUND", "BRICKVAR")}
            meta = {
                key: header[keyword] for keyword, (key, _) in _META.items() if keyword in header
            }
    except (OSError, KeyError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read as a selection function ({str(error).splitlines()[0]}); "
            "expected FITS as selection/selection.fits of a run"
        ) from None
    used = [row for row in model if row["used"]]
    return {
        "quantities": [Quantity(*(str(row[name]) for name in Quantity._fields)) for row in model],
        "splines": {
            str(row["name"]): Spline(
                float(row["minimum"]), float(row["maximum"]), _own(row["knots"][: row["n_knots"]])
            )
            for row in used
        },
        "medians": {str(row["name"]): float(row["median"]) for row in model},
        "coefficients": numbers["coefficient"],
        "covariance": covariance,
        "centres": numbers["centre"],
        "smoothing": smoothing,
        "freedom": numbers["freedom"],
        "brick_variance": counts["BRICKVAR"],
        "n_painted": counts["NPAINTED"],
        "n_found": counts["NFOUND"],
        "meta": meta,
    }


def _own(values):
    """Numbers in memory and in the machine's order of bytes."""
    return np.array(values, np.float64)
