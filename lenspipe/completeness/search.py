"""The selection function of a run: fitted, put to the test, written and drawn."""

import hashlib
import json

import numpy as np
import pandas as pd

from lenspipe.completeness.cells import measure_cells
from lenspipe.completeness.plots import draw_completeness, draw_prediction
from lenspipe.completeness.prediction import predict_planted
from lenspipe.completeness.quantities import quantities_of
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.products.candidates import read_cuts
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["half_complete", "measure_selection"]

#: Brightness at which the Einstein radius of half completeness is told.
_AT = {"arc_snr": (10, 20, 40, 80), "arc_mag": (21, 22, 23, 24)}

_STEPS = 200


def measure_selection(settings):
    """Fit the selection function to the lenses that the run has painted.

    Writes ``selection/completeness.png``, on a simulated sky with held-out bricks
    ``prediction.json`` and ``.png``, then ``selection.fits`` and, last, ``selection.json``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        What selection.json holds; docs/outputs.md says what.

    Raises
    ------
    LenspipeError
        There are too few painted lenses, or no planted ones to compare with.
    """
    paths, own = settings.paths, settings.selection
    where = paths.selection("injected.parquet")
    painted = pd.read_parquet(where)
    quantities = quantities_of(settings.survey.bands, own.brightness)
    model = settings.model_path
    cuts = read_cuts(paths.threshold, settings.candidates.threshold)
    meta = {
        "run": settings.run,
        "threshold": min(cuts.lowest, 1.0),
        "model": hashlib.sha256(model.read_bytes()).hexdigest()[:16],
    }
    function = SelectionFunction.fit(painted, quantities, where, meta)
    bins = {quantity.name: getattr(own, f"{quantity.name}_bins") for quantity in quantities}
    cells = measure_cells(painted, function, bins, where)
    realism = _realism(paths.selection("realism.json"))
    summary = _summary(function, cells, own.brightness, realism)
    draw_completeness(function, painted, summary, paths.selection("completeness.png"))
    if settings.simulation and settings.held_out:
        prediction = predict_planted(settings, function)
        draw_prediction(prediction, function, paths.selection("prediction.png"))
        _write_json(paths.selection("prediction.json"), prediction)
    function.write(paths.selection("selection.fits"), cells)
    _write_json(paths.selection("selection.json"), summary)
    _report(summary)
    return summary


def _write_json(path, content):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _realism(path):
    """What the run knows of how real its painted lenses look; None if nothing."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise LenspipeError(
            f"{path}: can't be read as JSON, expected what rule realism wrote; delete it"
        ) from None


def half_complete(function, brightness):
    """Einstein radius at which half of the lenses are found, with all else at its median.

    Parameters
    ----------
    function : lenspipe.completeness.selection_function.SelectionFunction
    brightness : float
        Of the arcs.

    Returns
    -------
    theta_e, low, high : float or None
        Arcsec; the least radius with a completeness of half, and its 95 % interval. None where
        there is none in the range that was painted.
    """
    if "theta_e" not in function.splines:
        return None, None, None
    theta_e, spline = function.quantities[0], function.splines["theta_e"]
    radii = theta_e.unscaled(np.linspace(spline.low, spline.high, _STEPS))
    table = function.typical(len(radii))
    table[theta_e.column] = radii
    table[function.quantities[1].column] = brightness
    radii = np.append(radii, np.inf)

    def first(reached):
        """Radius of the first row that is reached, in each column; infinite if there is none."""
        return radii[np.where(reached.any(axis=0), reached.argmax(axis=0), _STEPS)]

    best = first(function.completeness(table)["completeness"].to_numpy()[:, None] >= 0.5)[0]
    draws = first(function.draws(table) >= 0.5)
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return tuple(float(value) if np.isfinite(value) else None for value in (best, low, high))


def _summary(function, cells, brightness, realism):
    """What is to be quoted."""
    half = []
    for value in _AT[brightness]:
        names = ("theta_e_arcsec", "theta_e_arcsec_low", "theta_e_arcsec_high")
        radii = dict(zip(names, half_complete(function, value), strict=True))
        half.append({brightness: value} | radii)
    expected = cells["n_painted"] * cells["model"] * (1 - cells["model"])
    full = expected >= 1
    off = (cells["n_found"] - cells["n_painted"] * cells["model"])[full] ** 2 / expected[full]
    quantities = {}
    for quantity in function.quantities:
        spline = function.splines.get(quantity.name)
        median = function.medians[quantity.name]
        quantities[quantity.name] = {
            "column": quantity.column,
            "unit": quantity.unit,
            "used": spline is not None,
            "low": float(quantity.unscaled(spline.low)) if spline else None,
            "high": float(quantity.unscaled(spline.high)) if spline else None,
            "median": median if np.isfinite(median) else None,
        }
    return {
        **function.meta,
        "brightness": brightness,
        "n_painted": function.n_painted,
        "n_found": function.n_found,
        "half_complete": half,
        "quantities": quantities,
        "freedom": float(function.freedom.sum()),
        "brick_scatter_logit": function.brick_variance**0.5,
        "n_cells": len(cells),
        "n_cells_empty": int((cells["n_painted"] == 0).sum()),
        "n_cells_compared": int(full.sum()),
        "chi2_cells": float(off.sum()),
        "realism": realism,
    }


def _report(summary):
    """Log what is to be quoted."""
    log.info("selection: %d of %d painted lenses found", summary["n_found"], summary["n_painted"])
    for row in summary["half_complete"]:
        name, value = next(iter(row.items()))
        if row["theta_e_arcsec"] is None:
            log.info("selection: %s %g: half are found nowhere", name, value)
        else:
            log.info(
                "selection: %s %g: half found at %.2f arcsec", name, value, row["theta_e_arcsec"]
            )
